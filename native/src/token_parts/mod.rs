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

mod rules;
mod windows;

pub use rules::Rules;

use crate::fault::Result;
use windows::Parts;

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

/// The ids of the text and how many bytes they cover: all of it, or with `more` to come, the bytes before the last
/// cut; the text then goes on there as one that is `continued`.
pub fn encode_parts(
    text: &str,
    continued: bool,
    more: bool,
    rules: Rules,
    encode: impl Fn(&str) -> Result<Vec<Token>> + Sync,
) -> Result<(Vec<u32>, usize)> {
    let mut parts = Parts::new(text, (continued, more), rules, encode);
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
