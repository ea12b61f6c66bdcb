//! The shapes of a convolution, and the sums that they make in both directions.

use super::correlate::{Pass, Weights};
use super::grid::Extents;
use super::window::Window;
use crate::fault::{Fault, Result};

/// How the windows of a convolution lie.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    pub rows: Window,
    pub columns: Window,
    pub groups: usize,
}

/// What JavaScript calls it: strides, zeros before and after, dilations (each for rows, then columns), groups.
const FIELDS: usize = 9;

impl Geometry {
    pub fn new(kernel: (usize, usize), fields: &[u32]) -> Result<Geometry> {
        let wrong = |why: &str| {
            Fault::shape(format!(
                "convolution: {why}, got kernel {kernel:?} and {fields:?}"
            ))
        };
        let Ok(
            [
                down,
                across,
                top,
                bottom,
                left,
                right,
                dilation_down,
                dilation_across,
                groups,
            ],
        ) = <[u32; FIELDS]>::try_from(fields).map(|fields| fields.map(|field| field as usize))
        else {
            return Err(wrong("needs nine numbers"));
        };
        if [
            down,
            across,
            dilation_down,
            dilation_across,
            groups,
            kernel.0,
            kernel.1,
        ]
        .contains(&0)
        {
            return Err(wrong("needs strides, dilations, groups and taps from 1 on"));
        }
        let window = |kernel, stride, before, after, dilation| Window {
            kernel,
            stride,
            before,
            after,
            dilation,
        };
        Ok(Geometry {
            rows: window(kernel.0, down, top, bottom, dilation_down),
            columns: window(kernel.1, across, left, right, dilation_across),
            groups,
        })
    }
}

/// A convolution whose shapes fit together.
pub struct Fitted {
    pub geometry: Geometry,
    pub images: usize,
    pub input: Extents,
    pub output: Extents,
}

impl Fitted {
    pub fn new(input: &[usize], weight: &[usize], fields: &[u32]) -> Result<Fitted> {
        let wrong = |why: &str| {
            Fault::shape(format!(
                "convolution: {why}, got x {input:?} and weight {weight:?}"
            ))
        };
        if input.len() != 4 || weight.len() != 4 {
            return Err(wrong(
                "needs x [batch, height, width, in] and weight [out, kh, kw, in / groups]",
            ));
        }
        let geometry = Geometry::new((weight[1], weight[2]), fields)?;
        let (extents, groups) = (Extents::of(input), geometry.groups);
        if !weight[0].is_multiple_of(groups) || weight[3].checked_mul(groups) != Some(extents.channels) {
            return Err(wrong("needs channels that the groups divide"));
        }
        let outputs = (
            geometry.rows.outputs(extents.height),
            geometry.columns.outputs(extents.width),
        );
        let (Some(height), Some(width)) = outputs else {
            return Err(wrong("needs images that hold the window"));
        };
        Ok(Fitted {
            geometry,
            images: input[0],
            input: extents,
            output: Extents {
                height,
                width,
                channels: weight[0],
            },
        })
    }

    pub fn is_depthwise(&self) -> bool {
        self.geometry.groups == self.input.channels && self.input.channels == self.output.channels
    }

    pub fn output_shape(&self) -> [usize; 4] {
        [
            self.images,
            self.output.height,
            self.output.width,
            self.output.channels,
        ]
    }

    /// Sums for outputs over inputs.
    pub fn forward(&self) -> Pass {
        let Geometry {
            rows,
            columns,
            groups,
        } = self.geometry;
        Pass {
            rows: rows.forward(),
            columns: columns.forward(),
            images: self.images,
            groups,
            source: self.input,
            target: self.output,
        }
    }

    /// Sums for inputs over outputs.
    pub fn backward(&self) -> Pass {
        let Geometry {
            rows,
            columns,
            groups,
        } = self.geometry;
        Pass {
            rows: rows.backward(),
            columns: columns.backward(),
            images: self.images,
            groups,
            source: self.output,
            target: self.input,
        }
    }

    pub fn weights<'a, T>(&self, numbers: &'a [T], is_backward: bool) -> Weights<'a, T> {
        let depth = self.input.channels / self.geometry.groups;
        let row = self.geometry.columns.kernel * depth;
        let out = self.geometry.rows.kernel * row;
        Weights {
            numbers,
            group: self.output.channels / self.geometry.groups * out,
            row,
            column: depth,
            depth: if is_backward { out } else { 1 },
            lane: if is_backward { 1 } else { out },
        }
    }
}
