//! Waiting for something to come to pass, with an error that says what was seen last.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// What did not come to pass. `Debug` prints what `Display` does, so that `unwrap` in a test shows the world as it was.
#[derive(Clone, thiserror::Error)]
#[error("{what}: not within {} ms; last seen: {last}", waited.as_millis())]
pub struct Late {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub waited: Duration,
    /// What the last look showed.
    pub last: String,
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What one look can find: the thing waited for, or why it is not there yet.
pub trait Look {
    /// What is returned once it is there.
    type Found;

    /// What was found, or what was seen instead.
    fn look(self) -> Result<Self::Found, String>;
}

impl Look for bool {
    type Found = ();

    fn look(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("false".to_owned()) }
    }
}

impl<T> Look for Option<T> {
    type Found = T;

    fn look(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: fmt::Display> Look for Result<T, E> {
    type Found = T;

    fn look(self) -> Result<T, String> {
        self.map_err(|fault| fault.to_string())
    }
}

/// Looks again and again until `look` finds what it looks for, at least once and at the latest `deadline` from now. The pauses
/// grow from 1 ms to 50 ms.
pub fn wait_until<L: Look>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> L,
) -> Result<L::Found, Late> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let last = match look().look() {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        let waited = start.elapsed();
        if waited >= deadline {
            return Err(Late { what: what.to_owned(), waited, last });
        }
        thread::sleep(pause.min(deadline - waited));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_to_pass_is_returned() {
        let mut looks = 0;
        let found = wait_until(Duration::from_secs(5), "a third look", || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found.unwrap(), 3);
    }

    #[test]
    fn what_is_late_is_told_with_the_last_thing_seen() {
        let late = wait_until(Duration::from_millis(20), "the tide turns", || Err::<(), _>("still ebbing"))
            .unwrap_err();
        let text = format!("{late:?}");
        assert!(text.contains("the tide turns") && text.contains("still ebbing"), "{text}");
        assert!(late.waited >= Duration::from_millis(20));
    }
}
