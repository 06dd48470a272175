//! The owners whom the user namespace of this process does not map.

/// Returns the uid that stands for every owner whom the user namespace of this process does not
/// map.
#[cfg(target_os = "linux")]
pub(super) fn unmapped_owner() -> Option<u32> {
    static UNMAPPED: std::sync::OnceLock<Option<u32>> = std::sync::OnceLock::new();
    *UNMAPPED.get_or_init(|| {
        let read = |path| std::fs::read_to_string(path).ok();
        let overflow = read("/proc/sys/kernel/overflowuid").and_then(|uid| uid.trim().parse().ok());
        let overflow = overflow.unwrap_or(65_534);
        let maps_all = match read("/proc/self/uid_map") {
            Some(map) => map.split_ascii_whitespace().eq(["0", "0", "4294967295"]),
            // Without /proc: the root directory belongs to root, unless root is not mapped.
            None => !rustix::fs::lstat("/").is_ok_and(|top| top.st_uid == overflow),
        };
        (!maps_all).then_some(overflow)
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn unmapped_owner() -> Option<u32> {
    None
}
