//! Tells whether a daemon that is started now could come up and be found.

use std::io::ErrorKind;
use std::path::Path;

use myownllm_daemon::{
    Candidate, CandidateOutcome, DetectRefusal, Endpoint, Origin, Verdict, check_socket_file, process_serves,
};
use myownllm_durable_fs::{Metadata, Owner, move_aside, quote};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};
use myownllm_paths::{ControlSocket, Mode, PathsError, Platform, check_control_socket};

use crate::context::Context;
use crate::daemons::{read_control_socket, read_document};
use crate::homes::no_access::not_a_file;
use crate::plan::foreseen::unwritable;
use crate::words::diagnostic::{Class, Diagnostic, PROGRAM, tried_lines};
use crate::words::hints::{edit, launch_with};

pub(crate) const CONFIG_SOCKET_UNREADABLE: &str = "daemon.leaked-socket-unreadable";

/// Returns the control socket that the app's config names if a daemon has overwritten it: that
/// daemon may listen there.
pub(crate) fn socket_named_by_config(context: &Context<'_>) -> Result<Option<Utf8PathBuf>, Diagnostic> {
    let config = &context.layout.app_config;
    read_control_socket(context.disk, config)
        .map(|socket| socket.named().map(Utf8Path::to_path_buf))
        .map_err(|error| Diagnostic::from_error(&error, CONFIG_SOCKET_UNREADABLE, error.hint()).at(config))
}

const LOOKUP_FAILED: &str = "paths.lookup";

pub(crate) const CONFIG_UNREADABLE: &str = "daemon.config-unreadable";

/// Reports that something else than a file is in the place of the daemon's config: a daemon would
/// wait for a pipe, fail, or lose its settings.
pub(crate) fn config_that_is_no_file(context: &Context<'_>) -> Option<Diagnostic> {
    let config = &context.layout.daemon_config;
    // The disk with the config may be missing. A daemon would start at its defaults, and replace
    // the symlink.
    let is = not_a_file(context.disk, config.as_ref()).ok()??;
    let message = format!("cannot read {config}: it is {is}");
    Some(Diagnostic::error(CONFIG_UNREADABLE, message).at(config).hint(move_aside(config, "aside")))
}

/// Returns the socket that the daemon's config names, and the config that names it. If there is no
/// daemon's config yet, that is the app's config, from which a repair gives back the daemon's
/// settings.
fn named_socket<'a>(context: &Context<'a>) -> Result<(ControlSocket, &'a Utf8Path), Diagnostic> {
    let config = &context.layout.daemon_config;
    if let Some(diagnostic) = config_that_is_no_file(context) {
        return Err(diagnostic);
    }
    let document = read_document(context.disk, config)
        .map_err(|error| Diagnostic::from_error(&error, LOOKUP_FAILED, error.hint()).at(config))?;
    if let Some(document) = document {
        return Ok((ControlSocket::of_document(&document), config));
    }
    Ok(match socket_named_by_config(context)? {
        Some(config_socket) => (ControlSocket::Named(config_socket), &context.layout.app_config),
        None => (ControlSocket::InHome, config),
    })
}

/// Checks that the path of the daemon's socket is short enough to be bound. The daemon home is
/// deeper than the old location: a path that is too long is refused before anything moves.
pub(crate) fn check_socket(context: &Context<'_>) -> Result<(), Diagnostic> {
    context.checked?;
    match named_socket(context) {
        // The move, and a start, report a daemon's config that cannot be read.
        Err(diagnostic) if [LOOKUP_FAILED, CONFIG_UNREADABLE].contains(&&*diagnostic.code) => Ok(()),
        found => found.and_then(|(socket, config)| check_length(context, &socket, config)),
    }
}

/// Checks that the path of the socket is short enough to be bound. `config` is the config that
/// names it.
fn check_length(
    context: &Context<'_>,
    control_socket: &ControlSocket,
    config: &Utf8Path,
) -> Result<(), Diagnostic> {
    let layout = context.checked?;
    let (socket, _) = layout.socket_for_mode(Mode::OwnLlm, control_socket);
    myownllm_paths::check_socket(&socket, layout.platform, config).map_err(Diagnostic::from)
}

/// Checks that a daemon that is started now could bind its socket and be found: a launch would wait
/// in vain for a daemon that comes up elsewhere. `run_as` is the user that starts the daemon, if
/// that is not the user of this process.
pub(crate) fn check_start(context: &Context<'_>, run_as: Option<Owner>) -> Result<(), Diagnostic> {
    let (control_socket, config) = named_socket(context)?;
    if let Some(named) = control_socket.named() {
        check_control_socket(named, context.layout.platform, config)?;
    }
    check_length(context, &control_socket, config)?;
    if let Some(named) = control_socket.named() {
        check_directory_of(context, run_as, named, config)?;
    }
    let endpoint = Endpoint::from(context.layout.socket_for_mode(Mode::OwnLlm, &control_socket).0);
    match (check_socket_file(&endpoint), control_socket.named()) {
        // The file at a path that the config names may belong to another program: asks for another
        // path instead of moving the file aside. The default path belongs to the daemon alone.
        (Err(_), Some(named)) if named != context.layout.daemon_socket => {
            let (named, config) = (named.to_owned(), config.to_owned());
            Err(PathsError::ControlSocket { named, why: "names a file that is no socket", config }.into())
        }
        (checked, _) => checked.map_err(Diagnostic::from),
    }
}

/// Refuses a control socket in a directory in which no file can be made: a daemon makes no
/// directory for its socket, and ends.
fn check_directory_of(
    context: &Context<'_>,
    run_as: Option<Owner>,
    socket: &Utf8Path,
    config: &Utf8Path,
) -> Result<(), Diagnostic> {
    let Some(directory) = socket.parent().filter(|_| context.layout.platform != Platform::Windows) else {
        return Ok(());
    };
    // A launch makes the daemon home.
    if directory == context.layout.daemon_home {
        return Ok(());
    }
    let refused = |why| {
        let named = socket.to_owned();
        let error = PathsError::ControlSocket { named, why, config: config.to_owned() };
        Diagnostic::from(&error)
    };
    match context.disk.stat_follow(directory.as_ref()) {
        Ok(meta) if meta.is_dir() && is_kernel_dir(context, &meta) => {
            Err(refused("is in a file system of the kernel, in which no socket can be made"))
        }
        Ok(meta) if meta.is_dir() => match unwritable(context, run_as, &[directory.to_owned()]) {
            Some(unwritable) => Err(unwritable.as_error()),
            None => Ok(()),
        },
        Ok(_) => Err(refused("is below a file that is not a directory")),
        Err(error) if error.is_not_found() => {
            // No directory can be made through a broken symlink.
            let is_broken_symlink = |above: &&Utf8Path| {
                let above = above.as_std_path();
                context.disk.stat(above).is_ok_and(|meta| meta.is_symlink())
                    && context.disk.stat_follow(above).is_err_and(|error| error.is_not_found())
            };
            // Where the user can make no directory, only another path in the config helps.
            let is_closed = |above: &Utf8Path| {
                let meta = context.disk.stat_follow(above.as_ref());
                meta.is_ok_and(|meta| is_kernel_dir(context, &meta))
                    || unwritable(context, run_as, &[above.to_owned()]).is_some()
            };
            let is_there = |above: &&Utf8Path| context.disk.stat(above.as_ref()).is_ok();
            let hint = match directory.ancestors().find(is_broken_symlink) {
                Some(symlink) => format!("ls -ld {}", quote(symlink)),
                None if directory.ancestors().find(is_there).is_some_and(is_closed) => edit(config, None),
                None => format!("mkdir -p -m 700 {}", quote(directory)),
            };
            Err(refused("is in a directory that does not exist").hint(hint))
        }
        // A component of the path is a file: nothing can be below it.
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Err(refused("is below a file that is not a directory"))
        }
        Err(error) => Err(Diagnostic::from_error(&error, LOOKUP_FAILED, error.hint()).at(directory)),
    }
}

/// Returns true if a directory is in `/proc` or `/sys`. The system grants root the permission to
/// write there, and makes no file all the same.
fn is_kernel_dir(context: &Context<'_>, directory: &Metadata) -> bool {
    let device = |meta: &Metadata| meta.id.map(|id| id.dev);
    ["/proc", "/sys"].into_iter().any(|kernel| {
        let kernel = context.disk.stat_follow(Path::new(kernel)).ok().as_ref().and_then(device);
        // Where nothing is mounted there, the directory belongs to the root file system.
        let root = context.disk.stat_follow(Path::new("/")).ok().as_ref().and_then(device);
        kernel.is_some() && kernel != root && kernel == device(directory)
    })
}

/// Reports that no program can be started as the daemon. This is an error if a program was found
/// and cannot start, or if a variable names a program, since the user wants that program; it is a
/// warning if no program was found anywhere.
pub(crate) fn missing_program(context: &Context<'_>) -> Option<Diagnostic> {
    let candidates = context.daemons.programs()?;
    if candidates.iter().any(Candidate::is_sound) {
        return None;
    }
    let cause = |program: &Candidate| {
        let problem = known_problem(program)?;
        Some(format!("{} ({}): {problem}", program.path.display(), program.origin))
    };
    let causes: Vec<String> = candidates.iter().filter_map(cause).collect();
    let mut tried = candidates.iter().filter_map(|program| program.obstacle.as_ref()).peekable();
    let error = |code: &str, message: &str| {
        Diagnostic::error(code, message).class(Class::Daemon).causes(causes.clone())
    };
    Some(match tried.peek() {
        Some(_) => {
            let hint = tried.find_map(|obstacle| obstacle.hint.clone());
            Diagnostic { hint, ..error(NOT_STARTED, "no daemon program that was found can be started") }
        }
        None if causes.is_empty() => {
            let message = "no daemon program was found beside this program, on PATH, or named by a variable";
            name_program(context, Diagnostic::warning(NOT_FOUND, message).class(Class::Daemon))
        }
        None => {
            let message = "the program that the variable names cannot be started, and no other daemon \
                           program was found";
            name_program(context, error(NOT_FOUND, message))
        }
    })
}

/// Replaces the hints that restart a daemon by those that stop it if `missing` reports that no
/// program can be started in its place: a restart refuses then, and mends nothing.
pub(crate) fn stop_alone<'h>(
    missing: Option<&Diagnostic>,
    hints: impl Iterator<Item = &'h mut Option<String>>,
) {
    let commands = hints.flatten().filter(|_| missing.is_some());
    for command in commands.filter(|command| command.ends_with(" daemon restart")) {
        *command = command.replace(" daemon restart", " daemon stop");
    }
}

/// Returns the reason why a program is not started, or will not come up. That another place on the
/// machine has no program is no problem.
fn known_problem(program: &Candidate) -> Option<&str> {
    match (&program.obstacle, &program.verdict, &program.origin) {
        (Some(obstacle), ..) => Some(&obstacle.problem),
        (None, Verdict::Skipped { reason }, Origin::Override { .. }) => Some(reason),
        _ => None,
    }
}

/// Warns that a program that a variable names cannot be started, and another one is started
/// instead.
pub(crate) fn skipped_override(candidates: &[Candidate]) -> Option<Diagnostic> {
    let sound = candidates.iter().position(Candidate::is_sound)?;
    let problems = candidates[..sound].iter();
    let problems = problems.filter_map(|program| Some((program, vec![known_problem(program)?.to_owned()])));
    override_warning(problems, &candidates[sound])
}

/// Warns that a program that a variable names did not come up, and another one did.
pub(crate) fn failed_override(tried: &[CandidateOutcome]) -> Option<Diagnostic> {
    let came_up = tried.iter().position(|tried| tried.failure.is_none())?;
    let failures = tried[..came_up].iter().map(|tried| (&tried.candidate, tried_lines(tried)));
    override_warning(failures, &tried[came_up].candidate)
}

fn override_warning<'c>(
    mut problems: impl Iterator<Item = (&'c Candidate, Vec<String>)>,
    instead: &Candidate,
) -> Option<Diagnostic> {
    let (program, causes) =
        problems.find(|(program, _)| matches!(program.origin, Origin::Override { .. }))?;
    let message = format!(
        "the daemon's program {} ({}) cannot be used, and {} ({}) is used in its place",
        program.path.display(),
        program.origin,
        instead.path.display(),
        instead.origin
    );
    let hint = format!("ls -ld {}", quote(&program.path));
    Some(Diagnostic::warning("daemon.override-skipped", message).causes(causes).hint(hint))
}

/// Adds the remedy if no daemon program was found: the command that names a program in a usual
/// directory that a launch does not search, or else the advice to install the app or to name a
/// program.
pub(crate) fn name_program(context: &Context<'_>, mut missing: Diagnostic) -> Diagnostic {
    let app = &context.layout.app;
    let bin = |dir: &str| context.layout.user_home.join(dir).join(app.daemon_program.as_ref());
    let usual = [".cargo/bin", ".local/bin", "/usr/local/bin", "/opt/homebrew/bin", "/usr/bin"];
    let is_program = |path: &Utf8PathBuf| {
        context.disk.stat_follow(path.as_ref()).is_ok_and(|meta| meta.is_file() && meta.mode & 0o111 != 0)
    };
    missing.hint = usual.map(bin).into_iter().find(is_program).map(|program| launch_with(program.as_ref()));
    let variable = app.daemon_program_variables.last().filter(|_| missing.hint.is_none());
    if let Some(variable) = variable {
        missing.message.push_str(&format!("; install {}, or name the program in {variable}", app.name));
    }
    missing
}

const NOT_STARTED: &str = "daemon.not-started";

pub(crate) const NOT_FOUND: &str = "daemon.not-found";

/// Returns the reason why no daemon is to be used. For a socket that cannot be bound, names the
/// config that can set another one.
pub(crate) fn refusal_diagnostic(context: &Context<'_>, refusal: &DetectRefusal) -> Diagnostic {
    let unbindable = match refusal {
        DetectRefusal::PathTooLong { .. } => check_start(context, None).err(),
        _ => None,
    };
    let endpoint = refusal.endpoint();
    let is_own = *endpoint == context.daemons.endpoint(Mode::OwnLlm);
    match (unbindable, refusal) {
        (Some(unbindable), _) => unbindable,
        // The app's own daemon may be ended, and started anew.
        (
            None,
            DetectRefusal::Busy { pid: Some(pid), .. }
            | DetectRefusal::Unusable { pid: Some(pid), .. }
            | DetectRefusal::ForeignIdentity { pid: Some(pid), .. },
        ) if is_own && process_serves(endpoint, *pid) => {
            let mut diagnostic = Diagnostic::from(refusal).hint(format!("{PROGRAM} daemon restart"));
            stop_alone(missing_program(context).as_ref(), std::iter::once(&mut diagnostic.hint));
            diagnostic
        }
        _ => Diagnostic::from(refusal),
    }
}
