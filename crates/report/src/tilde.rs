//! The one rule for paths in texts for a person: a path below the user's home begins with `~`.
//!
//! A JSON document has whole paths. So has a command to copy if it is for another home than that of
//! the shell into which it is copied.

use std::path::{MAIN_SEPARATOR, Path};

use myownllm_launch::Diagnostic;

use crate::screen::Page;

/// Shortens the paths below one home.
#[derive(Clone, Debug)]
pub struct Tilde {
    /// The home, with a separator at its end; empty if no path is to be shortened.
    home: String,
    is_home_of_shell: bool,
}

impl Tilde {
    /// Returns the rule for a home. `is_home_of_shell` is true if `~` means this home in the shell
    /// of the user as well.
    pub fn new(user_home: &Path, is_home_of_shell: bool) -> Self {
        let home = user_home.to_str().filter(|_| user_home.parent().is_some());
        let home = home.map_or_else(String::new, |home| format!("{home}{MAIN_SEPARATOR}"));
        Self { home, is_home_of_shell: is_home_of_shell && cfg!(unix) }
    }

    /// Returns a text with its paths shortened.
    pub fn in_text(&self, text: &str) -> String {
        let in_name = |c: char| c.is_alphanumeric() || "/\\.-_~=:".contains(c);
        self.shortened(text, |before| !before.ends_with(in_name))
    }

    /// Returns a command with its paths shortened where the shell expands them: at the start of a
    /// word, outside of quotes.
    pub fn in_command(&self, command: &str) -> String {
        if !self.is_home_of_shell {
            return command.to_owned();
        }
        self.shortened(command, |before| {
            let before = before.strip_suffix('\'').unwrap_or(before);
            let is_quoted = before.matches('\'').count() % 2 == 1;
            !is_quoted && (before.is_empty() || before.ends_with(' '))
        })
    }

    /// Returns a page with its paths shortened.
    pub fn in_page(&self, page: &Page) -> Page {
        page.map_texts(&|text| self.in_text(text), &|command| self.in_command(command))
    }

    /// Returns a diagnostic with its paths shortened.
    pub fn in_diagnostic(&self, diagnostic: &Diagnostic) -> Diagnostic {
        let mut shown = diagnostic.clone();
        shown.message = self.in_text(&shown.message);
        shown.path = shown.path.map(|path| self.in_text(&path));
        shown.causes.iter_mut().for_each(|cause| *cause = self.in_text(cause));
        shown.hint = shown.hint.map(|hint| self.in_command(&hint));
        shown
    }

    /// Replaces the home wherever a path begins with it. `begins` tells from the text before the
    /// home whether a path begins there. A quote before the home moves behind the `~/`, because a
    /// shell expands no quoted `~`.
    fn shortened(&self, text: &str, begins: impl Fn(&str) -> bool) -> String {
        let mut out = String::with_capacity(text.len());
        let mut from = 0;
        let places = text.match_indices(&self.home).filter(|_| !self.home.is_empty());
        for (at, _) in places.filter(|(at, _)| begins(&text[..*at])) {
            let before = &text[from..at];
            let (before, quote) = before.strip_suffix('\'').map_or((before, ""), |unquoted| (unquoted, "'"));
            out.push_str(before);
            out.push('~');
            out.push(MAIN_SEPARATOR);
            out.push_str(quote);
            from = at + self.home.len();
        }
        out.push_str(&text[from..]);
        out
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn paths_below_the_home_begin_with_a_tilde_and_no_other_text_changes() {
        let tilde = Tilde::new(Path::new("/home/you"), true);
        for (text, shown) in [
            (
                "cannot read /home/you/.myownllm/config.json: denied",
                "cannot read ~/.myownllm/config.json: denied",
            ),
            ("a /home/you/a and '/home/you/b c' (/home/you/d)", "a ~/a and ~/'b c' (~/d)"),
            ("the home /home/you does not exist", "the home /home/you does not exist"),
            ("/home/yours/a /mnt/home/you/a x=/home/you/a", "/home/yours/a /mnt/home/you/a x=/home/you/a"),
        ] {
            assert_eq!(tilde.in_text(text), shown);
        }
        assert_eq!(Tilde::new(Path::new("/"), true).in_text("/etc /a"), "/etc /a");
    }

    #[test]
    fn commands_have_a_tilde_only_where_the_shell_of_the_user_expands_it_to_this_home() {
        let command = "mv -n /home/you/a '/home/you/b c' && x --dir=/home/you/d 'of /home/you/e'";
        let tilde = Tilde::new(Path::new("/home/you"), true);
        assert_eq!(tilde.in_command(command), "mv -n ~/a ~/'b c' && x --dir=/home/you/d 'of /home/you/e'");
        assert_eq!(Tilde::new(Path::new("/home/you"), false).in_command(command), command);
        let spaced = Tilde::new(Path::new("/home/a b"), true);
        assert_eq!(spaced.in_command("rm '/home/a b/.x/f'"), "rm ~/'.x/f'");
    }
}
