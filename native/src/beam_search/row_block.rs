//! The search over some row groups, each with its own hypotheses.

use super::Search;
use crate::micro_tiles::Real;
use crate::parallel;

/// Codes of one row group and what follows from them.
#[derive(Clone)]
struct Hypothesis<T> {
    /// [column groups, books]
    codes: Vec<u32>,
    /// D, [high, columns]
    residual: Vec<T>,
    /// (D H) at the group of the last visit, [high, wide].
    local: Vec<T>,
    /// The loss, less what it was before the search.
    loss: f64,
}

impl<T: Real> Hypothesis<T> {
    #[inline(always)]
    fn take(&mut self, other: &Hypothesis<T>) {
        self.codes.copy_from_slice(&other.codes);
        self.residual.copy_from_slice(&other.residual);
        self.local.copy_from_slice(&other.local);
        self.loss = other.loss;
    }
}

/// A slot of one row group with what its scores are made of.
struct Slot<'a, T> {
    search: &'a Search<'a, T>,
    row: usize,
    group: usize,
    book: usize,
    scale: T,
    /// H_GG, [wide, wide]
    inner: &'a [T],
    penalties: &'a [T],
}

impl<T: Real> Slot<'_, T> {
    /// Adds factor * C[m, k] H_GG to `out` [high, wide].
    #[inline(always)]
    fn add_seen(&self, k: usize, factor: T, out: &mut [T]) {
        let Search {
            entries, high, wide, ..
        } = *self.search;
        let (count, size) = (self.search.books[self.book].count, high * wide);
        let entry = &entries[(self.book * count + k) * size..][..size];
        for (row, out) in entry.chunks_exact(wide).zip(out.chunks_exact_mut(wide)) {
            for (&c, line) in row.iter().zip(self.inner.chunks_exact(wide)) {
                let c = factor * c;
                out.iter_mut().zip(line).for_each(|(out, &h)| *out += c * h);
            }
        }
    }

    /// u, times 2 s, so that scores are what the loss falls by.
    #[inline(always)]
    fn directions(&self, hypothesis: &Hypothesis<T>, old: usize, out: &mut [T]) {
        out.copy_from_slice(&hypothesis.local);
        self.add_seen(old, self.scale, out);
        let factor = self.scale + self.scale;
        out.iter_mut().for_each(|x| *x = factor * *x);
    }

    /// Puts entry k in the place of `old`.
    #[inline(always)]
    fn exchange(&self, hypothesis: &mut Hypothesis<T>, old: usize, k: usize) {
        let Search {
            weight,
            entries,
            columns,
            high,
            wide,
            ..
        } = *self.search;
        let books = self.search.books.len();
        self.add_seen(old, self.scale, &mut hypothesis.local);
        self.add_seen(k, -self.scale, &mut hypothesis.local);
        let codes = &mut hypothesis.codes[self.group * books..][..books];
        codes[self.book] = k as u32;
        // From the weight itself, so that no rounding adds up.
        for a in 0..high {
            let place = (self.row * high + a) * columns + self.group * wide;
            let out = &mut hypothesis.residual[a * columns + self.group * wide..][..wide];
            out.fill(T::ZERO);
            for (book, &code) in codes.iter().enumerate() {
                let count = self.search.books[book].count;
                let entry = &entries[((book * count + code as usize) * high + a) * wide..][..wide];
                out.iter_mut().zip(entry).for_each(|(out, &c)| *out += c);
            }
            for (out, &w) in out.iter_mut().zip(&weight[place..place + wide]) {
                *out = w - self.scale * *out;
            }
        }
    }

    /// Beam 1: the best entry, where it is better than the old one.
    #[inline(always)]
    fn improve(&self, hypothesis: &mut Hypothesis<T>, x: &mut [T]) {
        let entries = &self.search.books[self.book];
        let old = hypothesis.codes[self.group * self.search.books.len() + self.book] as usize;
        self.directions(hypothesis, old, x);
        let square = self.scale * self.scale;
        let (best, score) = entries.best(self.penalties, square, x);
        let before = entries.score(old, self.penalties, square, x);
        if score > before {
            hypothesis.loss -= score.to_f64() - before.to_f64();
            self.exchange(hypothesis, old, best);
        }
    }

    /// Any beam: the best of all entries for all hypotheses; of equals old codes, then earlier ones.
    #[inline(always)]
    fn widen(
        &self,
        all: &mut Vec<Hypothesis<T>>,
        spare: &mut Vec<Hypothesis<T>>,
        x: &mut [T],
        scores: &mut [T],
    ) {
        let entries = &self.search.books[self.book];
        let square = self.scale * self.scale;
        // Loss, hypothesis, old code, code; ascending.
        let mut chosen: Vec<(f64, usize, usize, usize)> = Vec::with_capacity(self.search.beam + 1);
        let mut offer = |loss: f64, index: usize, old: usize, k: usize| {
            if chosen.len() == self.search.beam {
                if !chosen.last().is_some_and(|worst| loss < worst.0) {
                    return;
                }
                chosen.pop();
            }
            let place = chosen.partition_point(|other| other.0 <= loss);
            chosen.insert(place, (loss, index, old, k));
        };
        for (index, hypothesis) in all.iter().enumerate() {
            let old = hypothesis.codes[self.group * self.search.books.len() + self.book] as usize;
            self.directions(hypothesis, old, x);
            entries.scores(self.penalties, square, x, scores);
            let base = hypothesis.loss + scores[old].to_f64();
            offer(hypothesis.loss, index, old, old);
            for (k, score) in scores[..entries.count].iter().enumerate() {
                if k != old {
                    offer(base - score.to_f64(), index, old, k);
                }
            }
        }
        while spare.len() < chosen.len() {
            spare.push(all[0].clone());
        }
        for (next, &(loss, index, old, k)) in spare.iter_mut().zip(&chosen) {
            next.take(&all[index]);
            if k != old {
                self.exchange(next, old, k);
            }
            next.loss = loss;
        }
        std::mem::swap(all, spare);
        let kept = chosen.len();
        spare.extend(all.drain(kept..));
    }
}

/// out[r] += rows[r] times a panel [columns, N], `R` rows at a time.
#[inline(always)]
fn project<T: Real, const R: usize, const N: usize>(rows: [&[T]; R], panel: &[T]) -> [[T; N]; R] {
    let lines = panel.as_chunks::<N>().0;
    let rows = rows.map(|row| &row[..lines.len()]);
    let mut sums = [[T::ZERO; N]; R];
    for (column, line) in lines.iter().enumerate() {
        for r in 0..R {
            let d = rows[r][column];
            for t in 0..N {
                sums[r][t] += d * line[t];
            }
        }
    }
    sums
}

/// Rows of 8 columns a group, four at a time.
#[inline(always)]
fn project_all<T: Real, const N: usize>(rows: &[&[T]], panel: &[T], out: &mut [T]) {
    let (fours, rest) = rows.as_chunks::<4>();
    let out = out.as_chunks_mut::<N>().0;
    let (out_fours, out_rest) = out.split_at_mut(fours.len() * 4);
    for (rows, out) in fours.iter().zip(out_fours.as_chunks_mut::<4>().0) {
        *out = project::<T, 4, N>(*rows, panel);
    }
    for (&row, out) in rest.iter().zip(out_rest) {
        [*out] = project::<T, 1, N>([row], panel);
    }
}

/// (D H) at a group for all hypotheses of all row groups.
#[inline(always)]
fn arrive<T: Real>(search: &Search<T>, group: usize, rows: &mut [Vec<Hypothesis<T>>]) {
    let Search {
        columns, high, wide, ..
    } = *search;
    let panel = &search.panels[group * columns * wide..][..columns * wide];
    let lines: Vec<&[T]> = rows
        .iter()
        .flatten()
        .flat_map(|one| one.residual.chunks_exact(columns))
        .collect();
    let mut found = vec![T::ZERO; lines.len() * wide];
    match wide {
        4 => project_all::<T, 4>(&lines, panel, &mut found),
        8 => project_all::<T, 8>(&lines, panel, &mut found),
        16 => project_all::<T, 16>(&lines, panel, &mut found),
        _ => {
            for (line, out) in lines.iter().zip(found.chunks_exact_mut(wide)) {
                for (&d, h) in line.iter().zip(panel.chunks_exact(wide)) {
                    out.iter_mut().zip(h).for_each(|(out, &h)| *out += d * h);
                }
            }
        }
    }
    let each = high * wide;
    for (one, found) in rows.iter_mut().flatten().zip(found.chunks_exact(each)) {
        one.local.copy_from_slice(found);
    }
}

#[inline(always)]
fn start<T: Real>(search: &Search<T>, row: usize, codes: &[u32]) -> Hypothesis<T> {
    let Search {
        weight,
        entries,
        scales,
        columns,
        high,
        wide,
        ..
    } = *search;
    let mut residual = weight[row * high * columns..][..high * columns].to_vec();
    for (group, codes) in codes.chunks_exact(search.books.len()).enumerate() {
        for a in 0..high {
            for t in 0..wide {
                let mut sum = T::ZERO;
                for (book, &code) in codes.iter().enumerate() {
                    let count = search.books[book].count;
                    sum += entries[((book * count + code as usize) * high + a) * wide + t];
                }
                let out = &mut residual[a * columns + group * wide + t];
                *out -= scales[row] * sum;
            }
        }
    }
    Hypothesis {
        codes: codes.to_vec(),
        residual,
        local: vec![T::ZERO; high * wide],
        loss: 0.0,
    }
}

crate::simd! {
    pub fn search_block<T: Real>(search: &Search<'_, T>, first: usize, codes: &mut [u32], gains: &mut [f64]) {
        let Search { columns, column_groups, high, wide, .. } = *search;
        let books = search.books.len();
        let width = column_groups * books;
        let mut rows: Vec<Vec<Hypothesis<T>>> = codes
            .chunks_exact(width.max(1))
            .enumerate()
            .map(|(index, codes)| vec![start(search, first + index, codes)])
            .collect();
        let mut spare = Vec::new();
        let mut x = vec![T::ZERO; high * wide];
        let mut scores = vec![T::ZERO; search.books[0].padded];
        let mut at = usize::MAX;
        for &[group, book] in search.visits.as_chunks::<2>().0 {
            let (group, book) = (group as usize, book as usize);
            if group != at {
                if parallel::aborted() {
                    return;
                }
                arrive(search, group, &mut rows);
                at = group;
            }
            let panel = &search.panels[group * columns * wide..][..columns * wide];
            for (index, hypotheses) in rows.iter_mut().enumerate() {
                let slot = Slot {
                    search,
                    row: first + index,
                    group,
                    book,
                    scale: search.scales[first + index],
                    inner: &panel[group * wide * wide..][..wide * wide],
                    penalties: &search.penalties[group * books + book],
                };
                if search.beam == 1 {
                    slot.improve(&mut hypotheses[0], &mut x);
                } else {
                    slot.widen(hypotheses, &mut spare, &mut x, &mut scores);
                }
            }
        }
        for ((hypotheses, codes), gain) in rows.iter().zip(codes.chunks_exact_mut(width.max(1))).zip(gains) {
            codes.copy_from_slice(&hypotheses[0].codes);
            *gain = -hypotheses[0].loss;
        }
    }
}
