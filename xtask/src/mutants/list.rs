//! The lines, and the tests that hold them.

/// One line that carries a guarantee.
#[derive(Debug)]
pub(super) struct Mutant {
    pub(super) name: &'static str,
    /// What is promised, in a sentence.
    pub(super) guarantee: &'static str,
    /// Where the line is.
    pub(super) file: &'static str,
    /// The line, with as much around it as tells it from others.
    pub(super) find: &'static str,
    /// What stands there once the guarantee is taken away.
    pub(super) replace: &'static str,
    /// Whose tests.
    pub(super) package: &'static str,
    /// Which of them, as nextest's filter expression. At least one has to go red.
    pub(super) tests: &'static str,
}

#[rustfmt::skip]
pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "publish-flushes-content",
        guarantee: "A new file has its content on the disk before it has its name.",
        file: "crates/durable-fs/src/publish.rs",
        find: r"        disk.sync_file(&temp)?;
        let method = rename_noreplace",
        replace: "        let method = rename_noreplace",
        package: "myownllm-durable-fs",
        tests: "binary(publish)",
    },
    Mutant {
        name: "publish-flushes-name",
        guarantee: "A new file that is reported as written is there after a power cut.",
        file: "crates/durable-fs/src/publish.rs",
        find: r"        let method = rename_noreplace(disk, &temp, path)?;
        disk.sync_dir(dir)?;",
        replace: "        let method = rename_noreplace(disk, &temp, path)?;",
        package: "myownllm-durable-fs",
        tests: "binary(publish)",
    },
    Mutant {
        name: "publish-never-overwrites",
        guarantee: "A new file never takes the place of one that is there.",
        file: "crates/durable-fs/src/publish.rs",
        find: "        let method = rename_noreplace(disk, &temp, path)?;",
        replace: r"        disk.rename(&temp, path)?;
        let method = Method::Rename;",
        package: "myownllm-durable-fs",
        tests: "binary(publish)",
    },
    Mutant {
        name: "link-fallback-flushes",
        guarantee: "Where a rename that cannot replace is made of link and unlink, the second name is durable before the first goes.",
        file: "crates/durable-fs/src/publish.rs",
        find: r"            disk.hard_link(from, to)?;
            disk.sync_dir(dir)?;",
        replace: "            disk.hard_link(from, to)?;",
        package: "myownllm-durable-fs",
        tests: "binary(publish)",
    },
    Mutant {
        name: "new-folder-is-durable",
        guarantee: "A folder that was made is there after a power cut, and what is then put into it with it.",
        file: "crates/durable-fs/src/publish.rs",
        find: r"                give(disk, &at, owner)?;
                disk.sync_dir(&parent)?;",
        replace: r"                give(disk, &at, owner)?;
                let _ = &parent;",
        package: "myownllm-durable-fs",
        tests: "binary(publish)",
    },
    Mutant {
        name: "replace-flushes-content",
        guarantee: "A file that takes the place of another has its content on the disk first.",
        file: "crates/durable-fs/src/publish.rs",
        find: r"        disk.sync_file(&temp)?;
        disk.rename(&temp, &swap)",
        replace: "        disk.rename(&temp, &swap)",
        package: "myownllm-durable-fs",
        tests: "binary(publish)",
    },
    Mutant {
        name: "replace-flushes-name",
        guarantee: "A replacement that is reported as done is there after a power cut.",
        file: "crates/durable-fs/src/publish.rs",
        find: r"    disk.sync_dir(dir)?;
    let displaced =",
        replace: "    let displaced =",
        package: "myownllm-durable-fs",
        tests: "binary(publish)",
    },
    Mutant {
        name: "replace-looks-at-what-came-out",
        guarantee: "A write of somebody else that came between read and exchange is told, not taken for what was expected.",
        file: "crates/durable-fs/src/publish.rs",
        find: "    Ok(if displaced.bytes == expected {",
        replace: "    Ok(if true {",
        package: "myownllm-durable-fs",
        tests: "binary(publish)",
    },
    Mutant {
        name: "replace-keeps-the-old-name",
        guarantee: "Where names cannot be exchanged, the old file has a second, durable name before it loses the first.",
        file: "crates/durable-fs/src/publish.rs",
        find: r"                disk.sync_dir(dir)?;
                disk.rename(&swap, path)",
        replace: "                disk.rename(&swap, path)",
        package: "myownllm-durable-fs",
        tests: "binary(publish)",
    },
    Mutant {
        name: "replace-keeps-the-old-content",
        guarantee: "Where there are no links either, the copy of the old file is flushed before it loses its name.",
        file: "crates/durable-fs/src/publish.rs",
        find: r"                    disk.copy_new(path, &old, None)?;
                    disk.sync_file(&old)?;",
        replace: "                    disk.copy_new(path, &old, None)?;",
        package: "myownllm-durable-fs",
        tests: "binary(publish)",
    },
    Mutant {
        name: "failed-exchange-is-looked-at",
        guarantee: "An exchange that is reported as failed may have happened: what lies aside then is not thrown away.",
        file: "crates/durable-fs/src/publish.rs",
        find: r"is_ok_and(|there| there == bytes) {
        let _ = disk.unlink(swap);",
        replace: r"is_ok_and(|_| true) {
        let _ = disk.unlink(swap);",
        package: "myownllm-durable-fs",
        tests: "binary(publish)",
    },
    Mutant {
        name: "displaced-is-precious",
        guarantee: "What a killed replacement took out of the place is kept before it is removed.",
        file: "crates/durable-fs/src/publish.rs",
        find: "name.ends_with(SWAP_SUFFIX).then_some(true)",
        replace: "name.ends_with(SWAP_SUFFIX).then_some(false)",
        package: "myownllm-durable-fs",
        tests: "binary(publish)",
    },
    Mutant {
        name: "create-is-exclusive",
        guarantee: "Writing a new file never follows or truncates what has the name already.",
        file: "crates/durable-fs/src/real/unix.rs",
        find: "OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;",
        replace: "OFlags::WRONLY | OFlags::CREATE;",
        package: "myownllm-durable-fs",
        tests: "binary(real)",
    },
    Mutant {
        name: "rename-does-not-replace",
        guarantee: "The kernel itself refuses a rename onto a name that is taken.",
        file: "crates/durable-fs/src/real/unix.rs",
        find: "else { RenameFlags::NOREPLACE };",
        replace: "else { RenameFlags::empty() };",
        package: "myownllm-durable-fs",
        tests: "binary(real)",
    },
    Mutant {
        name: "lock-is-not-inherited",
        guarantee: "A program that we start does not hold the lock of the home on.",
        file: "crates/durable-fs/src/real/unix.rs",
        find: "const COMMON: OFlags = OFlags::CLOEXEC.union(OFlags::NONBLOCK)",
        replace: "const COMMON: OFlags = OFlags::empty().union(OFlags::NONBLOCK)",
        package: "myownllm-durable-fs",
        tests: "binary(real)",
    },
    Mutant {
        name: "pipes-hang-nobody",
        guarantee: "Opening a pipe, a terminal or a device never waits.",
        file: "crates/durable-fs/src/real/unix.rs",
        find: "const COMMON: OFlags = OFlags::CLOEXEC.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);",
        replace: "const COMMON: OFlags = OFlags::CLOEXEC.union(OFlags::NOCTTY);",
        package: "myownllm-durable-fs",
        tests: "test(=a_pipe_or_a_folder_is_an_error_at_once)",
    },
    Mutant {
        name: "lock-is-exclusive",
        guarantee: "Two processes cannot hold the lock of one home.",
        file: "crates/durable-fs/src/real/unix.rs",
        find: "FlockOperation::NonBlockingLockExclusive",
        replace: "FlockOperation::NonBlockingLockShared",
        package: "myownllm-durable-fs",
        tests: "binary(real)",
    },
    Mutant {
        name: "lock-is-on-the-home-of-now",
        guarantee: "A lock on a folder that was replaced meanwhile is no lock.",
        file: "crates/durable-fs/src/real/unix.rs",
        find: "            if (locked.st_dev as u64, locked.st_ino as u64) == (now.dev(), now.ino()) {",
        replace: r"            let _ = (locked, now);
            if true {",
        package: "myownllm-durable-fs",
        tests: "binary(real)",
    },
    Mutant {
        name: "file-flush-is-real",
        guarantee: "To flush a file is to ask the kernel for it.",
        file: "crates/durable-fs/src/real/unix.rs",
        find: r"            regular(&file)?;
            Ok(flush(&file)?)",
        replace: r"            regular(&file)?;
            Ok(())",
        package: "integration-tests",
        tests: "test(=what_is_flushed_is_flushed_by_the_kernel)",
    },
    Mutant {
        name: "folder-flush-is-real",
        guarantee: "To flush a folder is to ask the kernel for it.",
        file: "crates/durable-fs/src/real/unix.rs",
        find: "            match flush(&fd) {",
        replace: "            match Ok::<(), Errno>(()) {",
        package: "integration-tests",
        tests: "test(=what_is_flushed_is_flushed_by_the_kernel)",
    },
    Mutant {
        name: "file-system-flush-is-real",
        guarantee: "To flush a file system is to ask the kernel for it.",
        file: "crates/durable-fs/src/real/unix.rs",
        find: "    match retry_on_intr(|| rustix::fs::syncfs(&fd)) {",
        replace: r"    let _ = &fd;
    match Ok::<(), Errno>(()) {",
        package: "integration-tests",
        tests: "test(=what_is_flushed_is_flushed_by_the_kernel)",
    },
    Mutant {
        name: "sources-are-durable-first",
        guarantee: "What was written just before the move is on the disk before its name moves.",
        file: "crates/migration/src/execute.rs",
        find: r"        let plan = self.plan;
        self.flush(&folders, |disk| sources(disk, plan))",
        replace: r"        let _ = (&folders, sources as fn(&dyn Disk, &Plan) -> Vec<PathBuf>);
        Ok(())",
        package: "myownllm-migration",
        tests: "binary(crash)",
    },
    Mutant {
        name: "key-moves-last",
        guarantee: "The key reaches the destination after all else, because others take it for the sign that all is there.",
        file: "crates/migration/src/execute.rs",
        find: r"        self.batch(&self.plan.state)?;
        let held_back",
        replace: r"        self.batch(&self.plan.identity_steps)?;
        self.batch(&self.plan.state)?;
        let held_back",
        package: "myownllm-migration",
        tests: "binary(crash)",
    },
    Mutant {
        name: "key-is-held-back",
        guarantee: "When something before it failed, the key stays.",
        file: "crates/migration/src/execute.rs",
        find: "            Some(_) if held_back => {",
        replace: "            Some(_) if held_back && false => {",
        package: "myownllm-migration",
        tests: "binary(crash)",
    },
    Mutant {
        name: "copies-are-flushed",
        guarantee: "Across file systems, a copy is flushed before it gets its name.",
        file: "crates/migration/src/execute.rs",
        find: "            .and_then(|()| self.flush(&goals, |_| copied.iter().map(|(_, temp)| temp.clone()).collect()));",
        replace: "            .map(|()| drop(goals));",
        package: "myownllm-migration",
        tests: "binary(crash)",
    },
    Mutant {
        name: "failed-flush-is-final",
        guarantee: "A flush that failed is not tried again and called well: the run ends there.",
        file: "crates/migration/src/execute.rs",
        find: r"            self.report.errors.push(MigrationError::FlushFailed { path, source });
            Stop
        })",
        replace: r"            self.report.errors.push(MigrationError::FlushFailed { path, source });
            Stop
        })
        .or(Ok(()))",
        package: "myownllm-migration",
        tests: "binary(crash)",
    },
    Mutant {
        name: "copies-are-compared",
        guarantee: "A copy that is not like its source gets no name.",
        file: "crates/migration/src/execute.rs",
        find: r"            match self.disk.same_content(&job.from, &temp) {
                Ok(true) => {}",
        replace: r"            match Ok::<bool, DiskError>(true) {
                Ok(true) => {}",
        package: "myownllm-migration",
        tests: "binary(crash)",
    },
    Mutant {
        name: "published-is-durable",
        guarantee: "What was published is durable before its source goes.",
        file: "crates/migration/src/execute.rs",
        find: r"        self.flush(&folders, |_| {
            retire.iter().filter(|item| item.link.is_none()).map(|item| item.to.clone()).collect()
        })?;",
        replace: "        drop(folders);",
        package: "myownllm-migration",
        tests: "binary(crash)",
    },
    Mutant {
        name: "removal-is-durable",
        guarantee: "When the move is reported as done, a power cut brings no source back.",
        file: "crates/migration/src/execute.rs",
        find: r"            self.remove_sources(&folder, items)?;
        }
        self.flush(&sources, |_| Vec::new())",
        replace: r"            self.remove_sources(&folder, items)?;
        }
        drop(sources);
        Ok(())",
        package: "myownllm-migration",
        tests: "binary(crash)",
    },
    Mutant {
        name: "claim-folder-is-durable",
        guarantee: "The folder to which sources are renamed before they go is durable first.",
        file: "crates/migration/src/execute.rs",
        find: r"        self.flush([&folder.to_owned()], |_| Vec::new())?;
        let mut restored = false;",
        replace: "        let mut restored = false;",
        package: "myownllm-migration",
        tests: "binary(crash)",
    },
    Mutant {
        name: "source-is-looked-at-again",
        guarantee: "A source that was written to since it was copied is given its name back, not removed.",
        file: "crates/migration/src/execute.rs",
        find: "            match self.may_go(&item, &claimed) {",
        replace: "            match self.may_go(&item, &claimed).map(|_| true) {",
        package: "myownllm-migration",
        tests: "binary(crash)",
    },
    Mutant {
        name: "two-names-of-one-file",
        guarantee: "Two names of one file are the crash state of link and unlink, and are recognised by device and inode.",
        file: "crates/migration/src/inspect.rs",
        find: r"        return Ok(there.links > 1);
    }
    disk.same_content(source",
        replace: r"        return Ok(false);
    }
    disk.same_content(source",
        package: "myownllm-migration",
        tests: "binary(real)",
    },
    Mutant {
        name: "move-never-overwrites",
        guarantee: "A file that appears at the destination in the very moment is not replaced by a rename.",
        file: "crates/migration/src/execute.rs",
        find: "if linked { Ok(()) } else { self.disk.rename_exclusive(&job.from, &job.to) };",
        replace: "if linked { Ok(()) } else { self.disk.rename(&job.from, &job.to) };",
        package: "myownllm-migration",
        tests: "binary(crash)",
    },
    Mutant {
        name: "copy-never-overwrites",
        guarantee: "Nor by a copy from another file system.",
        file: "crates/migration/src/execute.rs",
        find: r"                result = self.disk.rename_exclusive(&temp, &job.to).map(|()| None);
                if let Err(error) = &result",
        replace: r"                result = self.disk.rename(&temp, &job.to).map(|()| None);
                if let Err(error) = &result",
        package: "myownllm-migration",
        tests: "binary(crash)",
    },
    Mutant {
        name: "nothing-exclusive-nothing-moves",
        guarantee: "Where the file system has no way to rename without replacing, nothing moves.",
        file: "crates/migration/src/execute.rs",
        find: r"                        let stop = self.refuse_neither(&job.to);
                        let _ = self.finish(folders, retire);
                        return Err(stop);",
        replace: "                        result = self.disk.rename(&job.from, &job.to);",
        package: "myownllm-migration",
        tests: "binary(crash)",
    },
    Mutant {
        name: "live-daemon-stops-the-move",
        guarantee: "Nothing moves under a daemon that would go on writing.",
        file: "crates/migration/src/execute.rs",
        find: r"    let live = daemons.live();
    if live.is_empty() {",
        replace: r"    let live = daemons.live();
    if live.len() < 9 {",
        package: "myownllm-migration",
        tests: "binary(real)",
    },
    Mutant {
        name: "the-right-lock",
        guarantee: "The lock of another home is no right to change this one.",
        file: "crates/migration/src/execute.rs",
        find: "        if real(lock.home()).is_none() || real(lock.home()) != real(&plan.app_home) {",
        replace: "        if real(lock.home()).is_none() {",
        package: "myownllm-migration",
        tests: "binary(crash)",
    },
    Mutant {
        name: "success-is-looked-at",
        guarantee: "That all has moved is not assumed but looked at.",
        file: "crates/migration/src/execute.rs",
        find: "unfinished.filter(|_| report.errors.is_empty())",
        replace: "unfinished.filter(|_| false)",
        package: "myownllm-migration",
        tests: "binary(real) | binary(crash)",
    },
    Mutant {
        name: "folders-are-closed-first",
        guarantee: "A folder is 0700 before it moves, so that a kill leaves nothing open.",
        file: "crates/migration/src/decide.rs",
        find: "                self.modes.push((folder.source.clone(), 0o700));",
        replace: "                let _ = &folder.source;",
        package: "myownllm-migration",
        tests: "binary(real)",
    },
    Mutant {
        name: "secrets-end-0600",
        guarantee: "A file of secrets ends 0600, whatever it was.",
        file: "crates/migration/src/decide.rs",
        find: "            self.modes.push((path.to_owned(), 0o600));",
        replace: "            let _ = path;",
        package: "myownllm-migration",
        tests: "binary(real)",
    },
    Mutant {
        name: "two-keys-stop-everything",
        guarantee: "Two different keys are never settled without their owner.",
        file: "crates/migration/src/decide.rs",
        find: r"                    command: self.command.clone(),
                };
                self.plan.refusals.push(error);",
        replace: r"                    command: self.command.clone(),
                };
                drop(error);",
        package: "myownllm-migration",
        tests: "binary(real)",
    },
    Mutant {
        name: "world-writable-is-refused",
        guarantee: "A folder in which anybody may put files is not trusted with keys.",
        file: "crates/migration/src/inspect.rs",
        find: "        } else if meta.mode & 0o1002 == 0o002 {",
        replace: "        } else if meta.mode & 0o1002 == 0o7777 {",
        package: "myownllm-migration",
        tests: "binary(real)",
    },
    Mutant {
        name: "foreign-owner-is-refused",
        guarantee: "A folder that belongs to another user is not trusted with keys.",
        file: "crates/migration/src/inspect.rs",
        find: "        if owner.uid != home.uid && owner.uid != 0 {",
        replace: "        if owner.uid != home.uid && owner.uid == u32::MAX {",
        package: "myownllm-migration",
        tests: "binary(crash)",
    },
    Mutant {
        name: "key-belongs-to-its-seed",
        guarantee: "A key file whose public key is another's is damaged.",
        file: "crates/migration/src/identity.rs",
        find: "    if SigningKey::from_bytes(&seed).verifying_key().to_bytes() != public {",
        replace: "    if SigningKey::from_bytes(&seed).verifying_key().to_bytes().is_empty() {",
        package: "myownllm-migration",
        tests: "binary(identity)",
    },
    Mutant {
        name: "newer-key-is-not-damaged",
        guarantee: "A key of a newer version is newer data, and left alone.",
        file: "crates/migration/src/identity.rs",
        find: "    if version > KNOWN_VERSION {",
        replace: "    if version == u64::MAX {",
        package: "myownllm-migration",
        tests: "binary(identity)",
    },
    Mutant {
        name: "former-config-is-kept-first",
        guarantee: "The former bytes are among the copies before a config is replaced.",
        file: "crates/config-store/src/plan.rs",
        find: r"        if plan.config.is_some()
            && let Some(former) = &plan.former",
        replace: r"        if plan.config.is_none()
            && let Some(former) = &plan.former",
        package: "myownllm-config-store",
        tests: "binary(store)",
    },
    Mutant {
        name: "copy-then-daemons-half-then-config",
        guarantee: "A repair is done in the order in which any part of it is safe: copy, the daemon's half, config.",
        file: "crates/config-store/src/store.rs",
        find: r"        for step in pending.steps {
            match &step {",
        replace: r"        for step in pending.steps.into_iter().rev() {
            match &step {",
        package: "myownllm-config-store",
        tests: "test(=killed_or_cut_off_at_every_operation)",
    },
    Mutant {
        name: "set-aside-is-never-evicted",
        guarantee: "What was set aside is not removed to make room.",
        file: "crates/config-store/src/copies.rs",
        find: "        let good: Vec<&CopyId> = listing.copies.iter().filter(|c| c.kind == CopyKind::Good).collect();",
        replace: "        let good: Vec<&CopyId> = listing.copies.iter().collect();",
        package: "myownllm-config-store",
        tests: "binary(store)",
    },
    Mutant {
        name: "full-means-refuse",
        guarantee: "At the cap a repair is refused.",
        file: "crates/config-store/src/copies.rs",
        find: "            self.check_room(&listing, bytes.len() as u64)?;",
        replace: "            let _ = self.check_room(&listing, bytes.len() as u64);",
        package: "myownllm-config-store",
        tests: "binary(store)",
    },
    Mutant {
        name: "a-copy-that-is-there-is-flushed",
        guarantee: "A copy that a killed run made counts only once it is flushed.",
        file: "crates/config-store/src/copies.rs",
        find: r"            self.disk.sync_file(&path).map_err(|e| self.failed(e))?;
            self.flush_folders()?;",
        replace: "            let _ = Self::flush_folders;",
        package: "myownllm-config-store",
        tests: "binary(crashes) | binary(store)",
    },
    Mutant {
        name: "copies-are-private",
        guarantee: "Copies of a config are 0600.",
        file: "crates/config-store/src/copies.rs",
        find: "    match publish_new(disk, path, bytes, 0o600, owner) {",
        replace: "    match publish_new(disk, path, bytes, 0o644, owner) {",
        package: "myownllm-config-store",
        tests: "binary(store)",
    },
    Mutant {
        name: "half-written-is-read-again",
        guarantee: "A config that does not parse is watched before it counts as corrupt.",
        file: "crates/config-store/src/read.rs",
        find: "            if parsed.is_ok() || self.stays(&bytes)? {",
        replace: "            if parsed.is_ok() || self.stays(&bytes).is_ok() {",
        package: "myownllm-config-store",
        tests: "binary(store) | binary(real)",
    },
    Mutant {
        name: "daemons-half-is-flushed",
        guarantee: "A daemon's half that is there already is flushed before the config loses it.",
        file: "crates/config-store/src/store.rs",
        find: "                        self.flush_daemon_half()?;",
        replace: "                        let _ = Self::flush_daemon_half;",
        package: "myownllm-config-store",
        tests: "binary(crashes) | binary(store)",
    },
    Mutant {
        name: "daemons-config-is-never-replaced",
        guarantee: "A daemon's config that appears in the very moment stays, and the repair begins anew.",
        file: "crates/config-store/src/store.rs",
        find: "            Err(error) if error.is_taken() => Ok(false),",
        replace: "            Err(error) if error.is_taken() => Ok(true),",
        package: "myownllm-config-store",
        tests: "binary(store)",
    },
    Mutant {
        name: "foreign-write-goes-back",
        guarantee: "What somebody else wrote meanwhile goes back into its place.",
        file: "crates/config-store/src/save.rs",
        find: r"            Ok(Replaced::Foreign { displaced, .. }) => {
                self.put_back(bytes, displaced)?;
                Ok(Saved::Foreign)",
        replace: r"            Ok(Replaced::Foreign { displaced, .. }) => {
                let _ = displaced.discard(self.disk);
                Ok(Saved::Done { unseen_possible: false })",
        package: "myownllm-config-store",
        tests: "binary(store)",
    },
    Mutant {
        name: "last-look-at-the-displaced",
        guarantee: "A writer that had the old file open is seen when it writes before the last look.",
        file: "crates/config-store/src/save.rs",
        find: "Ok(now) if now != former) {",
        replace: "Ok(now) if now != former && now == bytes) {",
        package: "myownllm-config-store",
        tests: "binary(store)",
    },
    Mutant {
        name: "displaced-is-kept",
        guarantee: "What a killed update took out of the place is kept before it is removed.",
        file: "crates/config-store/src/save.rs",
        find: "        if bytes == ours || live.is_ok_and(|live| live == bytes) {",
        replace: "        if bytes == ours || live.is_ok() || !bytes.is_empty() {",
        package: "myownllm-config-store",
        tests: "binary(store)",
    },
    Mutant {
        name: "the-stores-lock",
        guarantee: "The lock of another home is no right to write this config.",
        file: "crates/config-store/src/save.rs",
        find: r"        if same {
            return Ok(());",
        replace: r"        if same || home.is_absolute() {
            return Ok(());",
        package: "myownllm-config-store",
        tests: "binary(store)",
    },
    Mutant {
        name: "newer-config-is-not-written",
        guarantee: "A config of a newer version is read and never written.",
        file: "crates/config-store/src/plan.rs",
        find: r"            plan.loaded.pending = Pending::default();
            return;",
        replace: "            plan.loaded.newer = None;",
        package: "myownllm-config-store",
        tests: "binary(store)",
    },
    Mutant {
        name: "socket-too-long",
        guarantee: "A socket path that the kernel would cut off is refused.",
        file: "crates/paths/src/guard.rs",
        find: "        check_socket(&socket, self.0.platform, self.0.config_for_mode(mode))?;",
        replace: "        let _ = check_socket(&socket, self.0.platform, self.0.config_for_mode(mode));",
        package: "myownllm-paths",
        tests: "binary(guard) | binary(homes)",
    },
    Mutant {
        name: "home-leads-out",
        guarantee: "A daemon's home that is a link out of the app's home is refused.",
        file: "crates/paths/src/guard.rs",
        find: "        if !is_same_or_inside(&real_daemon, &real_app, ignore_case) {",
        replace: "        if real_daemon.as_os_str().is_empty() {",
        package: "myownllm-paths",
        tests: "binary(guard)",
    },
    Mutant {
        name: "homes-are-apart",
        guarantee: "A daemon's home that is the app's home under another name is refused.",
        file: "crates/paths/src/guard.rs",
        find: "        if is_same(&real_daemon, &real_app, ignore_case) {",
        replace: "        if real_daemon.as_os_str().is_empty() {",
        package: "myownllm-paths",
        tests: "binary(guard)",
    },
    Mutant {
        name: "shared-home-is-apart",
        guarantee: "The stand-alone daemon's home is not the app's home under another name.",
        file: "crates/paths/src/guard.rs",
        find: r"        return Err(PathsError::Overlap {
            app_home: layout.app_home,
            daemon_home: layout.shared_home,",
        replace: r"        let _ = || Err::<(), _>(PathsError::Overlap {
            app_home: layout.app_home.clone(),
            daemon_home: layout.shared_home.clone(),",
        package: "myownllm-paths",
        tests: "binary(guard)",
    },
    Mutant {
        name: "busy-is-not-absent",
        guarantee: "Nothing is started beside a daemon that listens and is silent.",
        file: "crates/daemon/src/detect.rs",
        find: "Probe::Busy { pid, waited_ms } => Judged::InTheWay(Refusal::Busy { endpoint, pid, waited_ms }),",
        replace: "Probe::Busy { .. } => Judged::Nobody,",
        package: "myownllm-daemon",
        tests: "test(detect::)",
    },
    Mutant {
        name: "another-key-is-not-taken",
        guarantee: "A daemon with another key than the home's is not used.",
        file: "crates/daemon/src/detect.rs",
        find: "                && !target.expected.admits(&status.device_id)",
        replace: r"                && target.expected.admits(expected)
                && expected.is_empty()",
        package: "myownllm-daemon",
        tests: "test(detect::)",
    },
    Mutant {
        name: "spawn-looks-first",
        guarantee: "Right before a daemon is started, nobody listens there.",
        file: "crates/daemon/src/spawn.rs",
        find: "        found => Err(SpawnError::Occupied { endpoint, found: Box::new(found) }),",
        replace: "        _ => Ok(()),",
        package: "integration-tests",
        tests: "binary(daemon_life)",
    },
    Mutant {
        name: "no-key-no-daemon",
        guarantee: "Where a key is expected and is not there, no daemon is started that would make another.",
        file: "crates/daemon/src/spawn.rs",
        find: "            Err(SpawnError::IdentityMissing { path: request.identity.clone() })",
        replace: "            Ok(())",
        package: "integration-tests",
        tests: "binary(daemon_life)",
    },
    Mutant {
        name: "events-do-not-extend-the-deadline",
        guarantee: "A peer that goes on sending events does not hold us.",
        file: "crates/daemon/src/wire.rs",
        find: r"                Line::Push(_) if Instant::now() > deadline => return Err(NoLine::TimedOut),
",
        replace: "",
        package: "myownllm-daemon",
        tests: "binary(peers) | test(wire::)",
    },
    Mutant {
        name: "bytes-do-not-extend-the-deadline",
        guarantee: "Nor does one that sends a byte now and then.",
        file: "crates/daemon/src/wire.rs",
        find: r"            if received && Instant::now() > deadline {
                return Err(NoLine::TimedOut);
            }
",
        replace: "",
        package: "myownllm-daemon",
        tests: "binary(peers) | test(wire::)",
    },
    Mutant {
        name: "what-began-before-the-question-is-no-answer",
        guarantee: "Half an answer that lay there when the question was sent is not taken for its answer.",
        file: "crates/daemon/src/wire.rs",
        find: "        self.stale = self.lines.begun() > 0;
",
        replace: "",
        package: "myownllm-daemon",
        tests: "test(wire::)",
    },
    Mutant {
        name: "lines-are-bounded",
        guarantee: "A line without an end is given up at a limit.",
        file: "crates/daemon/src/lines.rs",
        find: "if self.skipping || self.bytes.len() > self.limit {",
        replace: "if self.skipping {",
        package: "myownllm-daemon",
        tests: "binary(peers) | test(lines::) | test(wire::)",
    },
    Mutant {
        name: "join-before-leaving",
        guarantee: "The other networks are left only once the active one is joined.",
        file: "crates/daemon/src/reconcile.rs",
        find: r#"                _ => stop = Some("the active network could not be joined, so the others stay".to_owned()),"#,
        replace: "                _ => {}",
        package: "myownllm-daemon",
        tests: "binary(reconcile)",
    },
    Mutant {
        name: "a-shared-daemons-networks-stay",
        guarantee: "Of a shared daemon's networks only those go that the app added.",
        file: "crates/daemon/src/reconcile.rs",
        find: "        if view.role == Role::Shared && !is_ours(view, joined, networks) {",
        replace: "        if view.role == Role::Shared && joined.is_empty() {",
        package: "myownllm-daemon",
        tests: "binary(reconcile)",
    },
    Mutant {
        name: "secrets-are-masked",
        guarantee: "Credentials are not shown.",
        file: "crates/config-model/src/secrets.rs",
        find: r#"[&str; 6] = ["credential","#,
        replace: r#"[&str; 6] = ["nothing","#,
        package: "myownllm-config-model",
        tests: "binary(catalogue)",
    },
    Mutant {
        name: "launch-holds-the-lock-while-it-starts-a-daemon",
        guarantee: "Of many launches at once, one starts a daemon, and the others use it.",
        file: "crates/app/src/launch.rs",
        find: "    if matches!(detection.decision, Decision::Spawn) && lock.is_none() {",
        replace: "    if matches!(detection.decision, Decision::Refuse(_)) && lock.is_none() {",
        package: "integration-tests",
        tests: "test(=of_many_launches_at_once_one_starts_the_daemon)",
    },
    Mutant {
        name: "a-doubtful-home-gets-no-daemon",
        guarantee: "Where the key is in doubt, no daemon is started.",
        file: "crates/app/src/launch.rs",
        find: r"            if options.daemon && outcome.exit().is_ok() {
                let used",
        replace: r"            if options.daemon {
                let used",
        package: "integration-tests",
        tests: "binary(cli_faults) | binary(cli_contract) | binary(cli_more_faults)",
    },
    Mutant {
        name: "what-is-told-of-networks-is-masked",
        guarantee: "What is told of a daemon's networks holds no credential.",
        file: "crates/app/src/launch.rs",
        find: "plan: plan.masked(), outcome: outcome.masked() })",
        replace: "plan, outcome })",
        package: "integration-tests",
        tests: "binary(cli_contract) | binary(cli_more_faults)",
    },
];
