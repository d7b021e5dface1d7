//! Where the lines of a source begin.

/// Answers line numbers without reading the source again for each.
#[derive(Debug, Clone)]
pub struct LineIndex {
    /// Offsets of the first bytes of all lines but the first, ascending.
    starts: Vec<usize>,
}

impl LineIndex {
    /// Finds the lines of a source.
    #[must_use]
    pub fn of(source: &str) -> Self {
        Self { starts: source.match_indices('\n').map(|(newline, _)| newline + 1).collect() }
    }

    /// The line that an offset is on, from 1.
    #[must_use]
    pub fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line_column;

    #[test]
    fn lines_are_those_of_a_count() {
        for source in ["", "a", "\n", "a\nbc\r\n\nd", "é\né"] {
            let index = LineIndex::of(source);
            for offset in (0..=source.len()).filter(|at| source.is_char_boundary(*at)) {
                assert_eq!(
                    index.line(offset),
                    line_column(source, offset).0,
                    "{source:?} {offset}"
                );
            }
        }
    }
}
