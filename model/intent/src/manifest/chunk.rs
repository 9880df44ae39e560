//! Splits a file at the lines that separate YAML documents, so that each is read by itself.

/// The lines of one document, its `---` line among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    pub(super) text: &'a str,
    /// The first line's number in the file, from 1.
    pub(super) first_line: u64,
}

/// A line that begins with `---` and ends or goes on with a blank separates documents wherever it stands (YAML 1.2.2 section
/// 9.1.2: even in block scalars). Directives belong to the document after them.
pub(super) fn split(text: &str) -> Vec<Chunk<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut chunks = Vec::new();
    let (mut start, mut offset, mut first_line, mut line) = (0, 0, 1, 1);
    let mut directives_alone = true;
    for written in text.split_inclusive('\n') {
        if separates(written) {
            if !directives_alone {
                chunks.push(Chunk { text: &text[start..offset], first_line });
                (start, first_line) = (offset, line);
            }
            directives_alone = false;
        } else if !(written.trim().is_empty() || written.starts_with(['%', '#'])) {
            directives_alone = false;
        }
        offset += written.len();
        line += 1;
    }
    chunks.push(Chunk { text: &text[start..], first_line });
    chunks
}

fn separates(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_texts(text: &str) -> Vec<(u64, &str)> {
        split(text).into_iter().map(|chunk| (chunk.first_line, chunk.text)).collect()
    }

    #[test]
    fn documents_are_split_at_separators_alone() {
        assert_eq!(
            split_texts("a: 1\n---\nb: ---\n ---\n----\n"),
            [(1, "a: 1\n"), (2, "---\nb: ---\n ---\n----\n")]
        );
        assert_eq!(split_texts("---\na: 1\n--- # two\nb: 2"), [(1, "---\na: 1\n"), (3, "--- # two\nb: 2")]);
        assert_eq!(split_texts("# c\n%YAML 1.2\n\n---\na: 1\n"), [(1, "# c\n%YAML 1.2\n\n---\na: 1\n")]);
        assert_eq!(split_texts(""), [(1, "")]);
        assert_eq!(split_texts("\u{feff}a: 1\r\n---\r\nb: 2\r\n"), [(1, "a: 1\r\n"), (2, "---\r\nb: 2\r\n")]);
    }
}
