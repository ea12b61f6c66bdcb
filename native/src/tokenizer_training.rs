//! Byte-level BPE from texts, with the trainer of `tokenizers`.
//!
//! The trainer keeps words and pairs in hash maps of random order. Its result does not depend on it: of the pairs that
//! are left it takes the most frequent, of equals the one with the lowest ids, and without prefix, suffix and limit of
//! length no two merges make the same token, so that each pair waits in its queue once, with all of its places.

use std::collections::{BTreeMap, HashSet};

use napi_derive::napi;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::{
    AddedToken, Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer,
};

use crate::fault::{Fault, Result, border, js};
use crate::matrices::unless_aborted;
use crate::tokenizer::{check_blank_runs, refused};

/// Bytes of a text that are cut into words at once; the steps need about a hundred times as many.
const PART: usize = 1 << 16;

/// Bytes without a place to cut, at most.
const LONGEST_PART: usize = 1 << 23;

/// Bytes of a word that are counted as one; no token gets so long.
const LONGEST_WORD: usize = 1 << 12;

/// Pairs of tokens that occur less often are not merged.
const LEAST_FREQUENCY: u64 = 2;

fn rule() -> ByteLevel {
    ByteLevel::new(false, true, true)
}

/// The first place at `least` or behind it where the words of both sides stay what they are: white space after
/// something else, which no word of the rule goes across, and before which none looks ahead.
fn next_cut(text: &str, least: usize) -> usize {
    let mut blank = true;
    for (place, character) in text.char_indices() {
        let was_blank = blank;
        blank = character.is_whitespace();
        if place >= least && blank && !was_blank {
            return place;
        }
    }
    text.len()
}

fn count_words(mut text: &str, counts: &mut BTreeMap<String, u32>) -> Result<()> {
    check_blank_runs(text)?;
    while !text.is_empty() {
        unless_aborted()?;
        let (part, rest) = text.split_at(next_cut(text, PART));
        text = rest;
        if part.len() > LONGEST_PART {
            return Err(refused(format!(
                "{} bytes without a place to cut, at most {LONGEST_PART} are read",
                part.len()
            )));
        }
        let mut pieces = PreTokenizedString::from(part);
        rule().pre_tokenize(&mut pieces).map_err(refused)?;
        for (word, _, _) in pieces.get_splits(OffsetReferential::Original, OffsetType::None) {
            // One character stands for each byte.
            let letters: Vec<char> = word.chars().collect();
            for piece in letters.chunks(LONGEST_WORD) {
                let count = counts.entry(piece.iter().collect()).or_default();
                *count = count.saturating_add(1);
            }
        }
    }
    Ok(())
}

fn train(words: &[String], counts: &[f64], vocabulary: u32, special: &[String]) -> Result<String> {
    if words.len() != counts.len() {
        return Err(Fault::option("byte pairs: each word needs its count"));
    }
    unless_aborted()?;
    let special: Vec<AddedToken> = special
        .iter()
        .map(|token| AddedToken::from(token.as_str(), true))
        .collect();
    let trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(vocabulary as usize)
        .min_frequency(LEAST_FREQUENCY)
        .special_tokens(special.clone())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect::<HashSet<char>>())
        .build();
    let counted = words
        .iter()
        .map(String::as_str)
        .zip(counts.iter().map(|&count| count as u64));
    let mut model = BPE::default();
    trainer
        .do_train(
            &counted.map(|(word, count)| (word.into(), count)).collect(),
            &mut model,
        )
        .map_err(refused)?;
    unless_aborted()?;
    let found = model.get_vocab_size();
    if found < vocabulary as usize {
        return Err(refused(format!("the text gives only {found} tokens")));
    }
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(rule()));
    tokenizer.with_decoder(Some(rule()));
    tokenizer.add_special_tokens(&special);
    tokenizer.to_string(true).map_err(refused)
}

#[napi(object)]
pub struct WordCounts {
    /// One character for each byte, as the vocabulary has them.
    pub words: Vec<String>,
    pub counts: Vec<u32>,
}

/// The words of a text, as the byte-level rule of GPT-2 cuts it, in the order of their characters.
#[napi]
pub fn byte_level_words(text: String) -> js::Result<WordCounts> {
    border(|| {
        let mut found = BTreeMap::new();
        count_words(&text, &mut found)?;
        let (words, counts) = found.into_iter().unzip();
        Ok(WordCounts { words, counts })
    })
}

/// The tokenizer.json of `vocabulary` tokens for words that occur `counts` times: the special ones, the 256 bytes, and
/// what the most frequent pairs are merged to.
#[napi]
pub fn train_byte_pairs(
    words: Vec<String>,
    counts: Vec<f64>,
    vocabulary: u32,
    special: Vec<String>,
) -> js::Result<String> {
    border(|| train(&words, &counts, vocabulary, &special))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(text: &str) -> (Vec<String>, Vec<f64>) {
        let mut found = BTreeMap::new();
        count_words(text, &mut found).unwrap();
        found
            .into_iter()
            .map(|(word, count)| (word, f64::from(count)))
            .unzip()
    }

    #[test]
    fn the_most_frequent_pair_is_merged_first_and_of_equals_that_with_the_lowest_ids() {
        // ab occurs 6 times, cd and ef 4 times each.
        let (words, counts) = counted(&"ab ab ab cd cd ef ef".replace(' ', "\n").repeat(2));
        let json = train(&words, &counts, 256 + 1 + 3, &["<end>".into()]).unwrap();
        let tokenizer = Tokenizer::from_bytes(json.as_bytes()).unwrap();
        let ids = |text| tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec();
        assert_eq!(ids("<end>abcdef"), [0, 257, 258, 259]);
    }

    #[test]
    fn words_of_parts_are_those_of_the_whole() {
        let text = "It's  so\n\n\t salty,  the\u{a0}sea's 12th \u{1f600}wave  \r\n".repeat(4000);
        let whole = counted(&text);
        let mut pieces = PreTokenizedString::from(text.as_str());
        rule().pre_tokenize(&mut pieces).unwrap();
        let mut expected: BTreeMap<String, u32> = BTreeMap::new();
        for (word, _, _) in pieces.get_splits(OffsetReferential::Original, OffsetType::None) {
            *expected.entry(word.into()).or_default() += 1;
        }
        assert!(text.len() > 2 * PART);
        assert_eq!(whole.0, expected.keys().cloned().collect::<Vec<_>>());
        assert_eq!(
            whole.1,
            expected.values().map(|&c| f64::from(c)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_order_of_words_and_the_seeds_of_hash_maps_change_nothing() {
        // Numbers in base 3 over three letters: many pairs are equally frequent and overlap with themselves.
        let word = |mut n: u32| {
            let mut letters = String::new();
            while n > 0 {
                letters.push(['a', 'b', 'c'][(n % 3) as usize]);
                n /= 3;
            }
            letters
        };
        let text: Vec<String> = (1..700).map(|n| word(n * n * 31)).collect();
        let (mut words, mut counts) = counted(&text.join(" "));
        let first = train(&words, &counts, 700, &[]).unwrap();
        for _ in 0..5 {
            words.reverse();
            counts.reverse();
            assert_eq!(train(&words, &counts, 700, &[]).unwrap(), first);
            words.rotate_left(7);
            counts.rotate_left(7);
        }
    }

    #[test]
    fn a_text_without_enough_pairs_is_refused_and_a_long_word_is_not() {
        let (words, counts) = counted("no pair occurs");
        assert!(
            train(&words, &counts, 300, &[])
                .unwrap_err()
                .message
                .contains("only 256 tokens")
        );
        let (words, counts) = counted(&"x".repeat(3 * LONGEST_WORD));
        assert_eq!((words[0].len(), counts[0]), (LONGEST_WORD, 3.0));
    }
}
