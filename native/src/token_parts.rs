//! Ids of a long text in bounded memory: it is encoded in overlapping windows, whose ids joined are those of one
//! call.
//!
//! A tokenizer goes through a text from left to right. Where a piece of its pre-tokenizer begins, and the text before
//! it has no other part in what follows, the rest gets the same ids alone as within the whole. So every window begins
//! where the one before it, which reaches beyond that place, has such a border:
//!
//!   window i      [start_i, end_i), right up to its last `margin` bytes, where the text seems to end
//!   cut           start_(i+1): an edge (see `Rules::edge`) at most end_i - margin, at which a token of window i ends,
//!                 another one begins, and neither is an added token
//!   check         the tokens of window i behind the cut are the first ones of window i + 1, over half of the margin
//!   fallback      another cut; then a window twice as long, at last all of the text
//!
//! Within one piece the same holds for byte pair encoding (`Rules::inside_pieces`): tokens of which every two
//! neighbours are what their joined text is encoded to, are what the whole text is encoded to, as the first merge
//! across a border would also happen in the text of the two alone. The check sees the two neighbours at the cut.

use std::collections::VecDeque;

use rayon::prelude::*;

use crate::fault::{Fault, Result};
use crate::parallel;

/// Windows encoded at a time; more threads would not be worth their memory.
const MOST_AHEAD: usize = 4;
/// Cuts tried before the window grows; each costs a window.
const MOST_TRIES: usize = 4;

/// A token with its place in the text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    pub id: u32,
    /// Piece of the pre-tokenizer.
    pub piece: u32,
    /// Its own place, or that of its piece where texts are cut between pieces alone.
    pub start: usize,
    pub end: usize,
    /// Found in the text before anything else is done with it.
    pub added: bool,
}

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
    fn last_edge(&self, text: &str, from: usize, to: usize) -> Option<usize> {
        (from + 1..=to.min(text.len()))
            .rev()
            .find(|&at| self.edge(text, at))
    }
}

struct Window {
    start: usize,
    end: usize,
    tokens: Vec<Token>,
}

/// A text being encoded; `encode` gives the tokens of a text alone.
struct Parts<'t, F> {
    text: &'t str,
    rules: Rules,
    /// Whether the text begins at a cut.
    continued: bool,
    /// Whether text follows that is not here yet.
    more: bool,
    encode: F,
    ahead: VecDeque<Window>,
}

impl<F: Fn(&str) -> Result<Vec<Token>> + Sync> Parts<'_, F> {
    fn window(&self, start: usize, end: usize) -> Result<Window> {
        let mut end = end.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        let at_cut = start > 0 || self.continued;
        let from = start + usize::from(at_cut && self.rules.adds_blank);
        let mut tokens = (self.encode)(&self.text[from..end])?;
        for token in &mut tokens {
            token.start += from;
            token.end += from;
        }
        Ok(Window { start, end, tokens })
    }

    fn has_full_window(&self, start: usize) -> bool {
        start + self.rules.length + self.rules.margin <= self.text.len()
    }

    /// Where the window after one at `start` is likely to begin.
    fn guess(&self, start: usize) -> Option<usize> {
        self.has_full_window(start)
            .then(|| self.rules.last_edge(self.text, start, start + self.rules.length))
            .flatten()
    }

    /// Whether the text ends too soon behind `start`: such a window only confirms the cut, and waits for more.
    fn waits(&self, start: usize) -> bool {
        self.more && !self.has_full_window(start)
    }

    /// The window at `start`. Those that are likely to follow are encoded beside it.
    fn take(&mut self, start: usize) -> Result<Window> {
        if self.ahead.front().is_none_or(|window| window.start != start) {
            let mut spans = Vec::new();
            let mut next = Some(start);
            while let Some(start) = next
                && spans.len() < parallel::threads()?.min(MOST_AHEAD)
            {
                next = self.guess(start);
                let end = match next {
                    Some(next) => next,
                    None if self.waits(start) => start,
                    None => start + self.rules.length,
                };
                spans.push((start, end + self.rules.margin));
            }
            let windows: Result<Vec<_>> = parallel::install(|| {
                spans
                    .into_par_iter()
                    .map(|(start, end)| self.window(start, end))
                    .collect()
            })?;
            self.ahead = windows?.into();
        }
        self.ahead
            .pop_front()
            .ok_or_else(|| Fault::format("no window was encoded"))
    }

    /// The next window, and how many tokens of this one come before it.
    fn follow(&mut self, window: &Window) -> Result<Option<(usize, Window)>> {
        let mut last = window.end.saturating_sub(self.rules.margin);
        let mut tries = 0;
        while let Some(at) = self.rules.last_edge(self.text, window.start, last) {
            last = at - 1;
            let Some(count) = self.border(window, at) else {
                continue;
            };
            let next = self.take(at)?;
            if self.agree(&window.tokens[count..], &next) {
                return Ok(Some((count, next)));
            }
            tries += 1;
            if tries == MOST_TRIES {
                break;
            }
        }
        Ok(None)
    }

    /// How many tokens end at or before `at`, where the window can be cut there.
    fn border(&self, window: &Window, at: usize) -> Option<usize> {
        let count = window.tokens.partition_point(|token| token.end <= at);
        let (before, after) = (
            window.tokens.get(count.checked_sub(1)?)?,
            window.tokens.get(count)?,
        );
        let apart = self.rules.inside_pieces || before.piece != after.piece;
        (apart && after.start >= at && !before.added && !after.added).then_some(count)
    }

    fn agree(&self, tail: &[Token], next: &Window) -> bool {
        let limit = next.start + self.rules.margin / 2;
        let count = tail.iter().take_while(|token| token.end <= limit).count();
        count > 0
            && next.tokens.len() >= count
            && tail[..count].iter().zip(&next.tokens).all(|(a, b)| a.id == b.id)
            && tail[count - 1].end == next.tokens[count - 1].end
    }
}

/// The ids of the text and how many bytes they cover: all of it, or with `more` to come, the bytes before the last
/// cut; the text then goes on there as one that is `continued`.
pub fn encode_parts(
    text: &str,
    continued: bool,
    more: bool,
    rules: Rules,
    encode: impl Fn(&str) -> Result<Vec<Token>> + Sync,
) -> Result<(Vec<u32>, usize)> {
    let mut parts = Parts {
        text,
        rules,
        continued,
        more,
        encode,
        ahead: VecDeque::new(),
    };
    let mut ids = Vec::new();
    if parts.waits(0) {
        return Ok((ids, 0));
    }
    let mut window = parts.take(0)?;
    loop {
        if parts.waits(window.start) || (more && window.end == text.len()) {
            return Ok((ids, window.start));
        }
        if window.end == text.len() {
            ids.extend(window.tokens.iter().map(|token| token.id));
            return Ok((ids, text.len()));
        }
        window = match parts.follow(&window)? {
            Some((count, next)) => {
                ids.extend(window.tokens[..count].iter().map(|token| token.id));
                next
            }
            None => parts.window(window.start, window.start + 2 * (window.end - window.start))?,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces are runs of letters with the blank before them; a text of its own gets no blank. Ids are lengths.
    fn words(text: &str) -> Result<Vec<Token>> {
        let mut tokens: Vec<Token> = Vec::new();
        for (start, character) in text.char_indices() {
            let end = start + character.len_utf8();
            match tokens.last_mut() {
                Some(token) if character != ' ' => {
                    token.end = end;
                    token.id += 1;
                }
                _ => tokens.push(Token {
                    id: 1,
                    piece: tokens.len() as u32,
                    start,
                    end,
                    added: false,
                }),
            }
        }
        Ok(tokens)
    }

    const RULES: Rules = Rules {
        blanks_only: true,
        adds_blank: false,
        inside_pieces: false,
        length: 16,
        margin: 12,
    };

    fn ids(text: &str) -> Vec<u32> {
        words(text).unwrap().iter().map(|token| token.id).collect()
    }

    #[test]
    fn parts_joined_have_the_ids_of_the_whole() {
        let text = "the whale and  the sea é 東京 of a long text without an end ".repeat(20);
        let (joined, covered) = encode_parts(&text, false, false, RULES, words).unwrap();
        assert_eq!((joined, covered), (ids(&text), text.len()));
    }

    #[test]
    fn a_text_that_goes_on_is_left_at_a_cut() {
        let text = "call me ishmael some years ago never mind how long ".repeat(9);
        let (mut joined, covered) = encode_parts(&text, false, true, RULES, words).unwrap();
        assert!(covered > text.len() / 2 && covered < text.len());
        joined.extend(
            encode_parts(&text[covered..], true, false, RULES, words)
                .unwrap()
                .0,
        );
        assert_eq!(joined, ids(&text));
    }

    #[test]
    fn a_tokenizer_that_looks_at_all_of_the_text_gets_all_of_it() {
        // Each id depends on the number of blanks before it, so that no two windows agree.
        let counting = |text: &str| {
            words(text).map(|tokens| {
                let numbered = tokens.into_iter().enumerate();
                numbered
                    .map(|(id, token)| Token {
                        id: id as u32,
                        ..token
                    })
                    .collect()
            })
        };
        let text = "one two three four five six seven eight nine ten ".repeat(9);
        let (joined, _) = encode_parts(&text, false, false, RULES, counting).unwrap();
        assert!(joined.iter().enumerate().all(|(index, id)| *id == index as u32));
    }
}
