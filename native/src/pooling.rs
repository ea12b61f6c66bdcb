//! The largest number of every window of an image, channels last, and where it was found.

use crate::arena::{View, view};
use crate::convolution::Geometry;
use crate::copy;
use crate::dtype::{Compute, DType, Element};
use crate::fault::{Fault, Result, border, js};
use crate::math::Math;
use crate::parallel::{self, Shared};
use crate::{simd, with_compute};
use napi_derive::napi;

/// A tap of a window as it is stored: one byte where it can.
trait Position: Element + PartialEq {
    fn of(tap: usize) -> Self;
    fn tap(self) -> usize;
}
impl Position for u8 {
    fn of(tap: usize) -> u8 {
        tap as u8
    }
    fn tap(self) -> usize {
        self as usize
    }
}
impl Position for u32 {
    fn of(tap: usize) -> u32 {
        tap as u32
    }
    fn tap(self) -> usize {
        self as usize
    }
}

/// The windows over a batch of images.
struct Windows {
    geometry: Geometry,
    /// Extents of the images: batch, height, width, channels.
    input: [usize; 4],
    height: usize,
    width: usize,
}

impl Windows {
    fn new(input: &[usize], kernel: (usize, usize), fields: &[u32]) -> Result<Windows> {
        let geometry = Geometry::new(kernel, fields)?;
        let wrong =
            |why: &str| Fault::shape(format!("maxPool2d: {why}, got x {input:?} and kernel {kernel:?}"));
        let input =
            <[usize; 4]>::try_from(input).map_err(|_| wrong("needs x [batch, height, width, channels]"))?;
        let (rows, columns) = (geometry.rows, geometry.columns);
        // Every window then holds a number of the image.
        let borders = [
            (rows.before, rows),
            (rows.after, rows),
            (columns.before, columns),
            (columns.after, columns),
        ];
        if borders
            .iter()
            .any(|(border, window)| *border >= window.kernel || window.dilation != 1)
        {
            return Err(wrong("needs borders narrower than the window, and no dilation"));
        }
        let (Some(height), Some(width)) = (rows.outputs(input[1]), columns.outputs(input[2])) else {
            return Err(wrong("needs images that hold the window"));
        };
        Ok(Windows {
            geometry,
            input,
            height,
            width,
        })
    }

    fn output_shape(&self) -> [usize; 4] {
        [self.input[0], self.height, self.width, self.input[3]]
    }

    fn position_type(&self) -> DType {
        if self.geometry.rows.kernel * self.geometry.columns.kernel <= 256 {
            DType::U8
        } else {
            DType::U32
        }
    }

    /// Calls `body(pixel of the image, tap)` for the taps of one window that lie inside, in row-major order.
    #[inline(always)]
    fn taps(&self, row: usize, column: usize, mut body: impl FnMut(usize, usize)) {
        let Geometry { rows, columns, .. } = self.geometry;
        let (top, left) = (row * rows.stride, column * columns.stride);
        let (down, across) = (self.input[1], self.input[2]);
        let (first, last) = (
            rows.before.saturating_sub(top),
            rows.kernel.min(down + rows.before - top),
        );
        let (start, end) = (
            columns.before.saturating_sub(left),
            columns.kernel.min(across + columns.before - left),
        );
        for i in first..last {
            for j in start..end {
                let pixel = (top + i - rows.before) * across + left + j - columns.before;
                body(pixel, i * columns.kernel + j);
            }
        }
    }
}

simd! {
    /// Keeps the larger numbers and their tap; NaN wins and stays, of equals the earlier stays.
    fn larger<T: Compute, P: Position>(x: &[T], tap: usize, best: &mut [T], positions: &mut [P]) {
        for ((x, best), position) in x.iter().zip(best).zip(positions) {
            let (value, old) = (x.widen(), best.widen());
            // Without branches, so that it vectorises.
            let is_larger = (value > old) | (value.is_nan() & !old.is_nan());
            *best = if is_larger { *x } else { *best };
            *position = if is_larger { P::of(tap) } else { *position };
        }
    }
}

simd! {
    fn larger_alone<T: Compute>(x: &[T], best: &mut [T]) {
        for (x, best) in x.iter().zip(best) {
            let (value, old) = (x.widen(), best.widen());
            *best = if value > old || value.is_nan() { *x } else { *best };
        }
    }
}

fn pool<T: Compute, P: Position>(
    windows: &Windows,
    x: &[T],
    out: &mut [T],
    positions: Option<&mut [P]>,
) -> Result<()> {
    let [_, down, across, channels] = windows.input;
    let line = windows.width * channels;
    let positions = positions.map(|positions| Shared(positions.as_mut_ptr()));
    parallel::chunks(out, line, |start, out| {
        let (image, row) = (start / line / windows.height, start / line % windows.height);
        let image = &x[image * down * across * channels..];
        for (column, best) in out.chunks_exact_mut(channels).enumerate() {
            let mut is_first = true;
            // SAFETY: positions are laid out as the output, of which this line belongs to this task alone.
            let mut found = positions.map(|positions| unsafe {
                std::slice::from_raw_parts_mut(positions.get().add(start + column * channels), channels)
            });
            windows.taps(row, column, |pixel, tap| {
                let x = &image[pixel * channels..][..channels];
                if is_first {
                    best.copy_from_slice(x);
                    if let Some(found) = &mut found {
                        found.fill(P::of(tap));
                    }
                } else if let Some(found) = &mut found {
                    larger::<T, P>(x, tap, best, found);
                } else {
                    larger_alone::<T>(x, best);
                }
                is_first = false;
            });
        }
    })
}

/// The largest number of every window, and with it (where asked for) its tap in row-major order.
pub fn max_pool(
    x: &View,
    kernel: (usize, usize),
    fields: &[u32],
    has_positions: bool,
) -> Result<(View, Option<View>)> {
    let windows = Windows::new(&x.shape, kernel, fields)?;
    let out = View::empty(x.dtype, &windows.output_shape())?;
    let positions = has_positions
        .then(|| View::empty(windows.position_type(), &windows.output_shape()))
        .transpose()?;
    if out.is_empty() {
        return Ok((out, positions));
    }
    let x = copy::contiguous(x)?;
    with_compute!(x.dtype, "maxPool2d", T => {
        let (from, to) = (x.slice::<T>()?, out.slice_mut::<T>()?);
        match &positions {
            Some(positions) if positions.dtype == DType::U8 => pool::<T, u8>(&windows, from, to, Some(positions.slice_mut()?)),
            Some(positions) => pool::<T, u32>(&windows, from, to, Some(positions.slice_mut()?)),
            None => pool::<T, u8>(&windows, from, to, None),
        }
    })?;
    Ok((out, positions))
}

fn spread<T: Compute + Math, P: Position>(
    windows: &Windows,
    gradient: &[T],
    positions: &[P],
    out: &mut [T],
) -> Result<()> {
    let [_, down, across, channels] = windows.input;
    let Geometry { rows, columns, .. } = windows.geometry;
    let size = windows.height * windows.width * channels;
    parallel::chunks(out, down * across * channels, |start, out| {
        let first = start / (down * across * channels) * size;
        let pixels = gradient[first..first + size].chunks_exact(channels);
        for (at, (g, found)) in pixels.zip(positions[first..].chunks_exact(channels)).enumerate() {
            let (top, left) = (
                at / windows.width * rows.stride,
                at % windows.width * columns.stride,
            );
            for (channel, (&g, found)) in g.iter().zip(found).enumerate() {
                let (i, j) = (found.tap() / columns.kernel, found.tap() % columns.kernel);
                // A position that no window has would leave the image.
                let pixel = (top + i)
                    .wrapping_sub(rows.before)
                    .wrapping_mul(across)
                    .wrapping_add((left + j).wrapping_sub(columns.before));
                if let Some(to) = out.get_mut(pixel.wrapping_mul(channels).wrapping_add(channel)) {
                    *to += g;
                }
            }
        }
    })
}

/// The gradient of x [.., height, width, channels] from that of the output and the positions.
pub fn max_pool_gradient(
    gradient: &View,
    positions: &View,
    size: (usize, usize),
    kernel: (usize, usize),
    fields: &[u32],
) -> Result<View> {
    let extents = |axis: usize| gradient.shape.get(axis).copied().unwrap_or(0);
    let input = [extents(0), size.0, size.1, extents(3)];
    let windows = Windows::new(&input, kernel, fields)?;
    let fits = *gradient.shape == windows.output_shape()
        && *positions.shape == windows.output_shape()
        && positions.dtype == windows.position_type();
    if !fits {
        return Err(Fault::shape(format!(
            "maxPool2d: needs a gradient and positions of shape {:?}, got {:?} and {:?}",
            windows.output_shape(),
            &*gradient.shape,
            &*positions.shape
        )));
    }
    let wide = if gradient.dtype == DType::BF16 {
        DType::F32
    } else {
        gradient.dtype
    };
    let (g, positions) = (
        copy::contiguous(&copy::cast(gradient, wide)?)?,
        copy::contiguous(positions)?,
    );
    let out = View::zeros(wide, &input)?;
    if !out.is_empty() {
        macro_rules! run {
            ($T:ty) => {
                match positions.dtype {
                    DType::U8 => spread::<$T, u8>(&windows, g.slice()?, positions.slice()?, out.slice_mut()?),
                    _ => spread::<$T, u32>(&windows, g.slice()?, positions.slice()?, out.slice_mut()?),
                }
            };
        }
        match wide {
            DType::F32 => run!(f32)?,
            DType::F64 => run!(f64)?,
            other => {
                return Err(Fault::shape(format!(
                    "maxPool2d: needs f32, f64 or bf16, got {}; cast it first",
                    other.name()
                )));
            }
        }
    }
    copy::cast(&out, gradient.dtype)
}

/// x [batch, height, width, channels]; the largest of every window and, where asked for, its tap.
#[napi(js_name = "maxPool")]
pub fn max_pool_border(
    x: u32,
    kernel_height: u32,
    kernel_width: u32,
    geometry: Vec<u32>,
    has_positions: bool,
) -> js::Result<Vec<u32>> {
    border(|| {
        let kernel = (kernel_height as usize, kernel_width as usize);
        let (out, positions) = max_pool(&view(x)?, kernel, &geometry, has_positions)?;
        Ok(std::iter::once(out)
            .chain(positions)
            .map(View::into_handle)
            .collect())
    })
}

#[napi(js_name = "maxPoolGradient")]
pub fn max_pool_gradient_border(
    gradient: u32,
    positions: u32,
    size: Vec<u32>,
    kernel: Vec<u32>,
    geometry: Vec<u32>,
) -> js::Result<u32> {
    border(|| {
        let (&[height, width], &[down, across]) = (size.as_slice(), kernel.as_slice()) else {
            return Err(Fault::shape("maxPool2d: needs two extents and a kernel of two"));
        };
        let (size, kernel) = (
            (height as usize, width as usize),
            (down as usize, across as usize),
        );
        Ok(max_pool_gradient(&view(gradient)?, &view(positions)?, size, kernel, &geometry)?.into_handle())
    })
}
