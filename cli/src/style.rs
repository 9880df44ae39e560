//! Colours, on a terminal alone.

use std::io::IsTerminal;

/// Whether colours are used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    /// No colours.
    pub(crate) const PLAIN: Self = Self { colours: false };

    /// For a stream: colours if it is a terminal that shows them and nobody has asked for none (`NO_COLOR`).
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        Self { colours: stream.is_terminal() && !unwanted }
    }

    /// Something that is well.
    pub(crate) fn good(self, text: &str) -> String {
        self.painted("32", text)
    }

    /// Something that is wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.painted("31;1", text)
    }

    /// Something in between.
    pub(crate) fn odd(self, text: &str) -> String {
        self.painted("33", text)
    }

    /// A heading.
    pub(crate) fn bold(self, text: &str) -> String {
        self.painted("1", text)
    }

    /// What matters less.
    pub(crate) fn dim(self, text: &str) -> String {
        self.painted("2", text)
    }

    fn painted(self, colour: &str, text: &str) -> String {
        if self.colours { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
