//! Tokenizers behind integer handles: text to ids and back, with Hugging Face's `tokenizers`.
//!
//! Truncation and padding that a file asks for are switched off: they belong to one use of a model, and a
//! caller who wants the ids of a text wants all of them and no others.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use napi::bindgen_prelude::{Buffer, Either, Uint32Array};
use napi_derive::napi;
use tokenizers::{Model, OffsetReferential, OffsetType, PreTokenizer, Tokenizer};

use crate::fault::{Fault, Result, border, js};
use crate::token_parts::{Rules, Token, encode_parts};

struct Loaded {
    tokenizer: Tokenizer,
    /// Highest id of the vocabulary plus one.
    size: u32,
    /// Ids of the added tokens.
    added: HashSet<u32>,
    /// Bytes of the longest added token.
    longest_added: usize,
}

#[derive(Default)]
struct Table {
    next: u32,
    entries: HashMap<u32, Arc<Loaded>>,
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

fn table<T>(change: impl FnOnce(&mut Table) -> T) -> T {
    change(&mut TABLE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What the crate reports, in its own words.
pub fn refused(error: impl ToString) -> Fault {
    Fault::format(error.to_string())
}

fn load(json: &[u8]) -> Result<Loaded> {
    let mut tokenizer = Tokenizer::from_bytes(json).map_err(refused)?;
    tokenizer.with_truncation(None).map_err(refused)?;
    tokenizer.with_padding(None);
    let highest = tokenizer.get_vocab(true).into_values().max();
    let size = highest.map_or(Some(0), |id| id.checked_add(1));
    let size = size.ok_or_else(|| refused("the id 4294967295 is too large"))?;
    let added = tokenizer.get_added_tokens_decoder();
    let longest_added = added.values().map(|token| token.content.len()).max();
    Ok(Loaded {
        size,
        added: added.into_keys().collect(),
        longest_added: longest_added.unwrap_or(0),
        tokenizer,
    })
}

fn loaded(handle: u32) -> Result<Arc<Loaded>> {
    table(|t| t.entries.get(&handle).cloned())
        .ok_or_else(|| refused(format!("tokenizer {handle} does not exist or was released")))
}

/// Parses the text of a tokenizer.json; the handle lives until `tokenizerRelease`.
#[napi]
pub fn tokenizer_load(json: Either<String, Buffer>) -> js::Result<u32> {
    border(|| {
        let entry = Arc::new(load(match &json {
            Either::A(text) => text.as_bytes(),
            Either::B(buffer) => buffer.as_ref(),
        })?);
        Ok(table(|t| {
            while t.entries.contains_key(&t.next) {
                t.next = t.next.wrapping_add(1);
            }
            let handle = t.next;
            t.next = t.next.wrapping_add(1);
            t.entries.insert(handle, entry);
            handle
        }))
    })
}

/// Frees a tokenizer; calls that still run keep theirs. False if there was none.
#[napi]
pub fn tokenizer_release(handle: u32) -> bool {
    table(|t| t.entries.remove(&handle)).is_some()
}

/// The longest run of white space that the regular expressions of pre-tokenisers can take back step by step;
/// past a million they give up without a word and leave the rest of the text in one piece.
const LONGEST_BLANK_RUN: usize = 500_000;

pub fn check_blank_runs(text: &str) -> Result<()> {
    let mut run = 0;
    for character in text.chars() {
        run = if character.is_whitespace() { run + 1 } else { 0 };
        if run > LONGEST_BLANK_RUN {
            let limit = LONGEST_BLANK_RUN;
            return Err(refused(format!(
                "a run of white space is longer than {limit} characters"
            )));
        }
    }
    Ok(())
}

/// Ids of `text`, with what the post-processor adds if asked for.
#[napi]
pub fn tokenizer_encode(handle: u32, text: String, add_special_tokens: bool) -> js::Result<Uint32Array> {
    border(|| {
        let entry = loaded(handle)?;
        check_blank_runs(&text)?;
        let encoding = entry
            .tokenizer
            .encode_fast(text.as_str(), add_special_tokens)
            .map_err(refused)?;
        Ok(encoding.get_ids().to_vec().into())
    })
}

/// The tokens of a text without what the post-processor adds. They lie where their piece does, or with
/// `inside_pieces`, which costs more, each at its own place.
fn tokens_of(entry: &Loaded, text: &str, inside_pieces: bool) -> Result<Vec<Token>> {
    let tokenizer = &entry.tokenizer;
    let model = tokenizer.get_model();
    let mut pieces = tokenizer
        .get_added_vocabulary()
        .extract_and_normalize(tokenizer.get_normalizer(), text);
    if let Some(part) = tokenizer.get_pre_tokenizer() {
        part.pre_tokenize(&mut pieces).map_err(refused)?;
    }
    let mut tokens = Vec::with_capacity(text.len() / 3);
    if inside_pieces {
        pieces
            .tokenize(|piece| model.tokenize(piece.get()))
            .map_err(refused)?;
        let encoding = pieces.into_encoding(None, 0, OffsetType::Byte).map_err(refused)?;
        let places = encoding.get_offsets().iter().zip(encoding.get_word_ids());
        for (&id, (&(start, end), piece)) in encoding.get_ids().iter().zip(places) {
            tokens.push(Token {
                id,
                piece: piece.unwrap_or(0),
                start,
                end,
                added: entry.added.contains(&id),
            });
        }
        return Ok(tokens);
    }
    let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
    for (piece, (text, (start, end), added)) in splits.into_iter().enumerate() {
        let token = |id| Token {
            id,
            piece: piece as u32,
            start,
            end,
            added: added.is_some(),
        };
        match added {
            Some(found) => tokens.extend(found.iter().map(|each| token(each.id))),
            None => {
                let found = model.tokenize(text).map_err(refused)?;
                tokens.extend(found.iter().map(|each| token(each.id)));
            }
        }
    }
    Ok(tokens)
}

/// How a text is cut; see `token_parts`.
#[napi(object)]
pub struct PartRules {
    pub blanks_only: bool,
    pub adds_blank: bool,
    pub inside_pieces: bool,
    /// Bytes of a part.
    pub length: u32,
}

#[napi(object)]
pub struct EncodedPart {
    pub ids: Uint32Array,
    /// UTF-16 units of the text that the ids stand for.
    pub covered: u32,
}

/// Ids of a long text in bounded memory, without what the post-processor adds. `continued`: the text begins where
/// the ids of a call before ended. `more`: text follows, so that the ids end at a place where it can go on.
#[napi]
pub fn tokenizer_encode_parts(
    handle: u32,
    text: String,
    continued: bool,
    more: bool,
    rules: PartRules,
) -> js::Result<EncodedPart> {
    border(|| {
        let entry = loaded(handle)?;
        check_blank_runs(&text)?;
        let length = (rules.length as usize).max(1);
        // Room behind a cut for an added token, and for what a pre-tokenizer looks ahead.
        let margin = (length / 4).min(2048).max(2 * entry.longest_added);
        let rules = Rules {
            blanks_only: rules.blanks_only,
            adds_blank: rules.adds_blank,
            inside_pieces: rules.inside_pieces,
            length,
            margin,
        };
        let (ids, covered) = encode_parts(&text, continued, more, rules, |part| {
            tokens_of(&entry, part, rules.inside_pieces)
        })?;
        Ok(EncodedPart {
            ids: ids.into(),
            covered: text[..covered].encode_utf16().count() as u32,
        })
    })
}

/// Text of `ids`; ids that the vocabulary does not have add nothing.
#[napi]
pub fn tokenizer_decode(handle: u32, ids: Uint32Array, skip_special_tokens: bool) -> js::Result<String> {
    border(|| {
        loaded(handle)?
            .tokenizer
            .decode(&ids, skip_special_tokens)
            .map_err(refused)
    })
}

#[napi]
pub fn tokenizer_token_to_id(handle: u32, token: String) -> js::Result<Option<u32>> {
    border(|| Ok(loaded(handle)?.tokenizer.token_to_id(&token)))
}

#[napi]
pub fn tokenizer_id_to_token(handle: u32, id: u32) -> js::Result<Option<String>> {
    border(|| Ok(loaded(handle)?.tokenizer.id_to_token(id)))
}

/// Highest id plus one.
#[napi]
pub fn tokenizer_vocabulary_size(handle: u32) -> js::Result<u32> {
    border(|| Ok(loaded(handle)?.size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_of_white_space_are_refused_and_shorter_ones_are_not() {
        let run = |n: usize| format!("a{}b", "\u{2003}".repeat(n));
        assert!(check_blank_runs(&run(LONGEST_BLANK_RUN)).is_ok());
        assert!(check_blank_runs(&run(LONGEST_BLANK_RUN + 1)).is_err());
    }

    #[test]
    fn truncation_and_padding_of_the_file_are_switched_off() {
        let json = br###"{"version":"1.0","truncation":{"max_length":2,"strategy":"LongestFirst","stride":0},
            "padding":{"strategy":{"Fixed":9},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"a"},
            "added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
            "model":{"type":"WordLevel","vocab":{"a":0,"b":7},"unk_token":"a"}}"###;
        let loaded = load(json).unwrap();
        let ids = loaded.tokenizer.encode_fast("a b b a", true).unwrap();
        assert_eq!(ids.get_ids(), [0, 7, 7, 0]);
        assert_eq!(loaded.size, 8);
    }
}
