//! Where texts may be cut.

/// Where a tokenizer lets a text be cut.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Only in front of a blank, as the tokenizer puts one in front of texts that begin otherwise.
    pub blanks_only: bool,
    /// The tokenizer puts one in front of every text: it stands for the blank at the cut.
    pub adds_blank: bool,
    /// Also between tokens of one piece.
    pub inside_pieces: bool,
    /// Bytes of a window without its margin.
    pub length: usize,
    pub margin: usize,
}

impl Rules {
    /// A letter, then a blank (or a mark that goes with what follows it, if anything), then a letter: pre-tokenizers
    /// cut in front of the middle one, and normalizers do not join it to the letter before it.
    fn edge(&self, text: &str, at: usize) -> bool {
        if at == 0 || !text.is_char_boundary(at) {
            return false;
        }
        let mut rest = text[at..].chars();
        let first = match rest.next() {
            Some(' ') => true,
            Some('\n' | '。' | '、' | '，' | '！' | '？' | '；' | '：' | '「' | '」' | '（' | '）') => {
                !self.blanks_only
            }
            _ => false,
        };
        first
            && rest.next().is_some_and(char::is_alphabetic)
            && text[..at].chars().next_back().is_some_and(char::is_alphabetic)
    }

    /// The last edge in (`from`, `to`].
    pub(super) fn last_edge(&self, text: &str, from: usize, to: usize) -> Option<usize> {
        (from + 1..=to.min(text.len()))
            .rev()
            .find(|&at| self.edge(text, at))
    }
}
