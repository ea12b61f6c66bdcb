//! Where the window of a convolution lies along one axis, seen from its outputs and from its inputs.

use std::ops::Range;

/// A window that moves along one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Taps.
    pub kernel: usize,
    /// Inputs from one position of the window to the next.
    pub stride: usize,
    /// Zeros that are put before the first input.
    pub before: usize,
    /// Zeros that are put after the last input.
    pub after: usize,
    /// Inputs from one tap to the next.
    pub dilation: usize,
}

/// One product of a target: with the source at an offset and the weight at an index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tap {
    pub offset: isize,
    pub index: usize,
}

/// Targets `first + each * i` that have the same taps: they read sources `step * i + offset`. Offsets ascend.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    pub first: usize,
    pub each: usize,
    pub step: usize,
    pub taps: Vec<Tap>,
}

impl Window {
    /// Positions over an axis of `input`; none where the window is wider than what it moves over.
    pub fn outputs(&self, input: usize) -> Option<usize> {
        let span = (self.kernel.checked_sub(1)?)
            .checked_mul(self.dilation)?
            .checked_add(1)?;
        let room = input
            .checked_add(self.before)?
            .checked_add(self.after)?
            .checked_sub(span)?;
        Some(room / self.stride + 1)
    }

    /// Outputs as targets, inputs as sources.
    pub fn forward(&self) -> Vec<Class> {
        let tap = |index| Tap {
            offset: (index * self.dilation) as isize - self.before as isize,
            index,
        };
        vec![Class {
            first: 0,
            each: 1,
            step: self.stride,
            taps: (0..self.kernel).map(tap).collect(),
        }]
    }

    /// Inputs as targets, outputs as sources: one class for every rest of the position by the stride.
    pub fn backward(&self) -> Vec<Class> {
        let stride = self.stride as isize;
        let taps_of = |first: usize| {
            let distance =
                move |index: usize| (first + self.before) as isize - (index * self.dilation) as isize;
            (0..self.kernel)
                .rev()
                .filter(move |&index| distance(index) % stride == 0)
                .map(move |index| Tap {
                    offset: distance(index) / stride,
                    index,
                })
                .collect()
        };
        (0..self.stride)
            .map(|first| Class {
                first,
                each: self.stride,
                step: 1,
                taps: taps_of(first),
            })
            .collect()
    }
}

impl Class {
    /// Indices of the targets that lie in a range.
    pub fn indices(&self, targets: Range<usize>) -> Range<usize> {
        let before = |end: usize| end.saturating_sub(self.first).div_ceil(self.each);
        before(targets.start)..before(targets.end)
    }

    /// The lowest offset of a tap.
    pub fn lowest(&self) -> isize {
        self.taps.first().map_or(0, |tap| tap.offset)
    }

    /// Offsets of the runs of taps whose sources lie side by side, and the taps of each: all in one run, or one each.
    pub fn runs(&self) -> (Vec<isize>, usize) {
        let together = self
            .taps
            .windows(2)
            .all(|pair| pair[1].offset == pair[0].offset + 1);
        let runs = if together {
            self.taps.len().min(1)
        } else {
            self.taps.len()
        };
        let offsets = self.taps[..runs].iter().map(|tap| tap.offset).collect();
        (offsets, if together { self.taps.len() } else { 1 })
    }

    /// Sources that the targets of a range read; may lie outside of the axis.
    fn sources(&self, targets: Range<usize>) -> Option<Range<isize>> {
        let indices = self.indices(targets);
        let (low, high) = (self.taps.first()?, self.taps.last()?);
        let at = |index: usize| (index * self.step) as isize;
        (!indices.is_empty()).then(|| at(indices.start) + low.offset..at(indices.end - 1) + high.offset + 1)
    }
}

/// Sources that the targets of a range read in all classes together.
pub fn sources(classes: &[Class], targets: &Range<usize>) -> Range<isize> {
    classes
        .iter()
        .filter_map(|class| class.sources(targets.clone()))
        .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
        .unwrap_or(0..0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (output, input, tap) of every product, by the definition.
    fn products(window: Window, input: usize) -> Vec<(usize, usize, usize)> {
        let outputs = window.outputs(input).unwrap_or(0);
        let mut found = Vec::new();
        for output in 0..outputs {
            for tap in 0..window.kernel {
                let at = output * window.stride + tap * window.dilation;
                if at >= window.before && at - window.before < input {
                    found.push((output, at - window.before, tap));
                }
            }
        }
        found
    }

    #[test]
    fn both_directions_make_the_products_of_the_definition() {
        for (kernel, stride, before, after, dilation) in [
            (3, 1, 1, 1, 1),
            (3, 2, 0, 1, 1),
            (5, 2, 2, 2, 1),
            (1, 2, 0, 0, 1),
            (3, 3, 4, 1, 2),
            (2, 1, 3, 0, 3),
        ] {
            let window = Window {
                kernel,
                stride,
                before,
                after,
                dilation,
            };
            for input in [7, 8, 12] {
                let outputs = window.outputs(input).unwrap();
                let want = products(window, input);
                for (classes, targets, extent, backward) in [
                    (window.forward(), outputs, input, false),
                    (window.backward(), input, outputs, true),
                ] {
                    let mut found = Vec::new();
                    for class in &classes {
                        for index in class.indices(0..targets) {
                            for tap in &class.taps {
                                let source = (index * class.step) as isize + tap.offset;
                                assert!(sources(&classes, &(0..targets)).contains(&source));
                                if (0..extent as isize).contains(&source) {
                                    let (target, source) =
                                        (class.first + index * class.each, source as usize);
                                    let pair = if backward {
                                        (source, target)
                                    } else {
                                        (target, source)
                                    };
                                    found.push((pair.0, pair.1, tap.index));
                                }
                            }
                        }
                    }
                    found.sort_unstable();
                    assert_eq!(found, want);
                }
            }
        }
    }

    #[test]
    fn a_window_that_is_too_wide_has_no_outputs() {
        let window = Window {
            kernel: 3,
            stride: 1,
            before: 0,
            after: 0,
            dilation: 2,
        };
        assert_eq!((window.outputs(4), window.outputs(5)), (None, Some(1)));
    }
}
