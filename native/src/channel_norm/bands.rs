//! The rows of a tensor cut into bands by shape alone, and the numbers of bands put together again.

use crate::arena::View;
use crate::fault::{Fault, Result};
use crate::parallel::{self, Shared};

/// Numbers of a band: its second reading comes from the first-level cache.
const BAND: usize = 1 << 13;

/// x as [samples, rows, channels].
#[derive(Clone, Copy)]
pub struct Layout {
    pub samples: usize,
    pub rows: usize,
    pub channels: usize,
    pub groups: usize,
    band_rows: usize,
}

impl Layout {
    pub fn of(x: &View, groups: usize) -> Result<Layout> {
        let &[samples, rows, channels] = &*x.shape else {
            return Err(Fault::shape(format!(
                "channelNorm: needs [samples, rows, channels], got {:?}",
                &*x.shape
            )));
        };
        if groups == 0 || channels % groups != 0 {
            return Err(Fault::shape(format!(
                "channelNorm: {channels} channels do not divide into {groups} groups"
            )));
        }
        let band_rows = (BAND / channels.max(1)).clamp(16, 512);
        Ok(Layout {
            samples,
            rows,
            channels,
            groups,
            band_rows,
        })
    }

    pub fn bands(&self) -> usize {
        self.rows.div_ceil(self.band_rows)
    }

    pub fn group_of(&self, channel: usize) -> usize {
        channel / (self.channels / self.groups)
    }

    /// Numbers that one statistic is taken over.
    pub fn count(&self) -> f64 {
        (self.rows * (self.channels / self.groups)) as f64
    }

    /// Calls `body(sample, numbers of a band, band)` for every band; bands are numbered through all samples.
    pub fn each(&self, body: impl Fn(usize, std::ops::Range<usize>, usize) + Send + Sync) -> Result<()> {
        let bands = self.bands();
        let run = |band: usize| {
            let (sample, first) = (band / bands, band % bands * self.band_rows);
            let last = (first + self.band_rows).min(self.rows);
            let start = sample * self.rows;
            body(
                sample,
                (start + first) * self.channels..(start + last) * self.channels,
                band,
            );
        };
        if self.samples * self.rows * self.channels <= parallel::SMALL {
            (0..self.samples * bands).for_each(run);
            return Ok(());
        }
        parallel::tasks(self.samples * bands, run)
    }

    /// Two numbers a channel from every band, [samples, bands, 2, channels].
    pub fn fold(
        &self,
        body: impl Fn(usize, std::ops::Range<usize>, &mut [f64], &mut [f64]) + Send + Sync,
    ) -> Result<Vec<f64>> {
        let pair = 2 * self.channels;
        let mut folded = vec![0.0; self.samples * self.bands() * pair];
        let target = Shared(folded.as_mut_ptr());
        self.each(|sample, numbers, band| {
            // SAFETY: every band has a place of its own.
            let pair = unsafe { std::slice::from_raw_parts_mut(target.get().add(band * pair), pair) };
            let (first, second) = pair.split_at_mut(self.channels);
            body(sample, numbers, first, second);
        })?;
        Ok(folded)
    }
}

/// Mean and variance (over n) of every group of a sample, from those of its bands; [2][samples, groups].
pub fn join(layout: &Layout, folded: &[f64]) -> [Vec<f64>; 2] {
    let Layout {
        samples,
        rows,
        channels,
        groups,
        band_rows,
    } = *layout;
    let mut means = vec![0.0; samples * groups];
    let mut variances = means.clone();
    let (bands, width) = (layout.bands(), channels / groups);
    for (at, (mean, variance)) in means.iter_mut().zip(&mut variances).enumerate() {
        let (sample, group) = (at / groups, at % groups);
        let mut total = 0.0;
        for band in 0..bands {
            let count = band_rows.min(rows - band * band_rows) as f64;
            let pair = &folded[(sample * bands + band) * 2 * channels..][..2 * channels];
            for channel in group * width..(group + 1) * width {
                let distance = pair[channel] - *mean;
                let grown = total + count;
                *variance += pair[channels + channel] + distance * distance * (total * count / grown);
                *mean += distance * (count / grown);
                total = grown;
            }
        }
        *variance /= layout.count();
    }
    [means, variances]
}
