//! A disk in memory that keeps what is flushed apart from what is only written, and fails or crashes on demand.
