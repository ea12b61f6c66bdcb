//! The windows of a text, and cuts that two neighbours agree on.

use super::{Rules, Token};
use crate::fault::{Fault, Result};
use crate::parallel;
use rayon::prelude::*;
use std::collections::VecDeque;

/// Windows encoded at a time; more threads would not be worth their memory.
const MOST_AHEAD: usize = 4;
/// Cuts tried before the window grows; each costs a window.
const MOST_TRIES: usize = 4;

pub(super) struct Window {
    pub start: usize,
    pub end: usize,
    pub tokens: Vec<Token>,
}

/// A text being encoded; `encode` gives the tokens of a text alone.
pub(super) struct Parts<'t, F> {
    text: &'t str,
    rules: Rules,
    /// Whether the text begins at a cut.
    continued: bool,
    /// Whether text follows that is not here yet.
    more: bool,
    encode: F,
    ahead: VecDeque<Window>,
}

impl<'t, F: Fn(&str) -> Result<Vec<Token>> + Sync> Parts<'t, F> {
    /// Whether the text is `continued`, and whether `more` of it follows.
    pub fn new(text: &'t str, (continued, more): (bool, bool), rules: Rules, encode: F) -> Self {
        Parts {
            text,
            rules,
            continued,
            more,
            encode,
            ahead: VecDeque::new(),
        }
    }

    pub fn window(&self, start: usize, end: usize) -> Result<Window> {
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
    pub fn waits(&self, start: usize) -> bool {
        self.more && !self.has_full_window(start)
    }

    /// The window at `start`. Those that are likely to follow are encoded beside it.
    pub fn take(&mut self, start: usize) -> Result<Window> {
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
    pub fn follow(&mut self, window: &Window) -> Result<Option<(usize, Window)>> {
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
