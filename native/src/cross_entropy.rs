//! Softmax cross-entropy over rows of logits, and its gradient. Of the forward pass only the logarithm of the sum of
//! exponentials of each row is kept; the gradient computes the probabilities from it again.
//!
//! With t the target distribution of a row, u the smoothing and n the classes, t' = (1 - u) t + u / n:
//!
//!   loss  = sum(t') log(sum(exp(x))) - sum(t' x)          a label is a t of one 1
//!   dx    = (softmax(x) sum(t') - t') dloss
//!
//! A row with the ignored label has a loss and a gradient of 0.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::num::Float;
use crate::dtype::{Compute, DType};
use crate::fault::{Fault, Result, border, js};
use crate::lanes::{ExpFrom, Itself, Max, Sum, fold};
use crate::parallel::{self, Shared};
use crate::rows::Rows;
use crate::{simd, with_compute};
use napi_derive::napi;

pub struct Options {
    /// Share of the target that is spread over all classes.
    pub smoothing: f64,
    /// The label of rows that do not count.
    pub ignored: Option<u32>,
}

simd! {
    fn log_sum_exp<T: Compute>(x: &[T]) -> f64 {
        let top = <T::Wide as Float>::from_f64(fold::<Max, Itself, T>(x, T::Wide::ZERO));
        top.to_f64() + fold::<Sum, ExpFrom, T>(x, top).ln()
    }
}

simd! {
    fn total<T: Compute>(x: &[T]) -> f64 {
        fold::<Sum, Itself, T>(x, T::Wide::ZERO)
    }
}

simd! {
    /// sum(t (top - x)), where terms with t = 0 count as 0 whatever x is; `products` is room for a row.
    fn weighted<T: Compute>(t: &[T], x: &[T], top: T::Wide, products: &mut [T::Wide]) -> f64 {
        for (p, (t, x)) in products.iter_mut().zip(t.iter().zip(x)) {
            let (t, x) = (t.widen(), x.widen());
            *p = if t == T::Wide::ZERO { T::Wide::ZERO } else { t * (top - x) };
        }
        fold::<Sum, Itself, T::Wide>(products, T::Wide::ZERO)
    }
}

simd! {
    /// exp(x - top) factor - shift
    fn label_row<T: Compute>(x: &[T], top: T::Wide, factor: T::Wide, shift: T::Wide, out: &mut [T]) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = T::narrow((x.widen() - top).exp() * factor - shift);
        }
    }
}

simd! {
    /// exp(x - top) factor - t share - shift
    fn target_row<T: Compute>(
        x: &[T],
        t: &[T],
        top: T::Wide,
        factor: T::Wide,
        share: T::Wide,
        shift: T::Wide,
        out: &mut [T],
    ) {
        for (o, (x, t)) in out.iter_mut().zip(x.iter().zip(t)) {
            *o = T::narrow((x.widen() - top).exp() * factor - t.widen() * share - shift);
        }
    }
}

/// What the rows are held against: a class each, or a distribution each.
enum Targets<'a, T> {
    Labels(&'a [u32]),
    Soft(&'a [T], &'a Rows),
}

/// Labels of the rows, each a class or the ignored one.
fn labels(labels: &View, classes: usize, ignored: Option<u32>) -> Result<&[u32]> {
    let found = labels.slice::<u32>()?;
    for (row, &label) in found.iter().enumerate() {
        if label as usize >= classes && Some(label) != ignored {
            return Err(Fault::shape(format!(
                "crossEntropy: label {label} of row {row} is outside of {classes} classes; correct it or name it as `ignored`"
            )));
        }
    }
    Ok(found)
}

fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 {
        DType::F64
    } else {
        DType::F32
    }
}

/// The targets, row-major where they are labels, with their rows.
fn prepared(logits: &View, targets: &View) -> Result<(View, Rows)> {
    let axes = logits.shape.len();
    let fits = if targets.dtype == DType::U32 {
        axes >= 1 && *targets.shape == logits.shape[..axes - 1]
    } else {
        axes >= 1 && targets.dtype == logits.dtype && *targets.shape == *logits.shape
    };
    if !fits {
        return Err(Fault::shape(format!(
            "crossEntropy: logits {:?} need u32 labels of the leading axes or targets of their own shape and type, got {:?} of {}",
            &*logits.shape,
            &*targets.shape,
            targets.dtype.name()
        )));
    }
    if targets.dtype == DType::U32 {
        let labels = copy::contiguous(targets)?;
        let rows = Rows::of(&labels)?.1;
        return Ok((labels, rows));
    }
    Rows::of(targets)
}

/// The loss of every row and the logarithm of its sum of exponentials, both f32, or f64 for logits in f64.
pub fn cross_entropy(logits: &View, targets: &View, options: &Options) -> Result<[View; 2]> {
    let (targets, target_rows) = prepared(logits, targets)?;
    let axes = logits.shape.len();
    let losses = View::empty(wide(logits.dtype), &logits.shape[..axes - 1])?;
    let tops = View::empty(wide(logits.dtype), &logits.shape[..axes - 1])?;
    let (x, rows) = Rows::of(logits)?;
    let width = rows.width;
    let smoothing = options.smoothing;
    with_compute!(logits.dtype, "crossEntropy", T => {
        type Wide = <T as Compute>::Wide;
        let number = |value: f64| <Wide as Float>::from_f64(value);
        let from = x.tail::<T>()?;
        let targets = if targets.dtype == DType::U32 {
            Targets::Labels(labels(&targets, width, options.ignored)?)
        } else {
            Targets::Soft(targets.tail::<T>()?, &target_rows)
        };
        let second = Shared(tops.slice_mut::<Wide>()?.as_mut_ptr());
        parallel::chunks(losses.slice_mut::<Wide>()?, rows.group(), |start, part| {
            let soft = matches!(targets, Targets::Soft(..));
            let mut products = vec![<Wide as Float>::ZERO; if soft { width } else { 0 }];
            for (index, loss) in part.iter_mut().enumerate() {
                let row = start + index;
                let x = &from[rows.base(row)..][..width];
                let top = log_sum_exp::<T>(x);
                // Spread over all classes: u (top - mean(x)).
                let spread = if smoothing > 0.0 {
                    smoothing * (top - total::<T>(x) / width as f64)
                } else {
                    0.0
                };
                let value = match targets {
                    Targets::Labels(labels) if Some(labels[row]) == options.ignored => 0.0,
                    Targets::Labels(labels) => {
                        (1.0 - smoothing) * (top - x[labels[row] as usize].widen().to_f64()) + spread
                    }
                    Targets::Soft(t, rows) => {
                        let t = &t[rows.base(row)..][..width];
                        (1.0 - smoothing) * weighted::<T>(t, x, number(top), &mut products) + spread
                    }
                };
                *loss = number(value);
                // SAFETY: the second output is as long as the first, and this place belongs to the same task.
                unsafe { *second.get().add(row) = number(top) };
            }
        })
    })?;
    Ok([losses, tops])
}

/// The gradient of the logits, given `tops` of the forward pass and the gradient of the losses.
pub fn cross_entropy_gradient(
    logits: &View,
    targets: &View,
    tops: &View,
    dlosses: &View,
    options: &Options,
) -> Result<View> {
    let (targets, target_rows) = prepared(logits, targets)?;
    let leading = &logits.shape[..logits.shape.len() - 1];
    let fits = |x: &View| x.dtype == wide(logits.dtype) && *x.shape == *leading;
    if !fits(tops) || !fits(dlosses) {
        return Err(Fault::shape(format!(
            "crossEntropyGradient: logits {:?} need one {} a row, got {:?} and {:?}",
            &*logits.shape,
            wide(logits.dtype).name(),
            &*tops.shape,
            &*dlosses.shape
        )));
    }
    let (tops, dlosses) = (copy::contiguous(tops)?, copy::contiguous(dlosses)?);
    let out = View::empty(logits.dtype, &logits.shape)?;
    let (x, rows) = Rows::of(logits)?;
    let width = rows.width.max(1);
    let smoothing = options.smoothing;
    with_compute!(logits.dtype, "crossEntropyGradient", T => {
        type Wide = <T as Compute>::Wide;
        let number = |value: f64| <Wide as Float>::from_f64(value);
        let from = x.tail::<T>()?;
        let (tops, dlosses) = (tops.slice::<Wide>()?, dlosses.slice::<Wide>()?);
        let targets = if targets.dtype == DType::U32 {
            Targets::Labels(labels(&targets, width, options.ignored)?)
        } else {
            Targets::Soft(targets.tail::<T>()?, &target_rows)
        };
        parallel::chunks(out.slice_mut::<T>()?, rows.group() * width, |start, part| {
            for (index, out) in part.chunks_mut(width).enumerate() {
                let row = start / width + index;
                let x = &from[rows.base(row)..][..width];
                let (top, upstream) = (tops[row], dlosses[row]);
                let shift = number(smoothing / width as f64) * upstream;
                match targets {
                    Targets::Labels(labels) if Some(labels[row]) == options.ignored => {
                        out.fill(T::narrow(<Wide as Float>::ZERO));
                    }
                    Targets::Labels(labels) => {
                        label_row::<T>(x, top, upstream, shift, out);
                        let label = labels[row] as usize;
                        let probability = (x[label].widen() - top).exp();
                        out[label] =
                            T::narrow((probability - number(1.0 - smoothing)) * upstream - shift);
                    }
                    Targets::Soft(t, rows) => {
                        let t = &t[rows.base(row)..][..width];
                        let sum = (1.0 - smoothing) * total::<T>(t) + smoothing;
                        let share = number(1.0 - smoothing) * upstream;
                        target_row::<T>(x, t, top, number(sum) * upstream, share, shift, out);
                    }
                }
            }
        })
    })?;
    Ok(out)
}

/// Handles of the losses and of the logarithms of the sums of exponentials, one a row. Targets are u32 labels of the
/// leading axes, or distributions of the shape and type of the logits.
#[napi(js_name = "crossEntropy")]
pub fn cross_entropy_border(
    logits: u32,
    targets: u32,
    smoothing: f64,
    ignored: Option<u32>,
) -> js::Result<Vec<u32>> {
    border(|| {
        let options = Options { smoothing, ignored };
        let found = cross_entropy(&view(logits)?, &view(targets)?, &options)?;
        Ok(found.into_iter().map(View::into_handle).collect())
    })
}

/// (softmax - target) times the gradient of the loss of each row.
#[napi(js_name = "crossEntropyGradient")]
pub fn cross_entropy_gradient_border(
    logits: u32,
    targets: u32,
    log_sums: u32,
    dlosses: u32,
    smoothing: f64,
    ignored: Option<u32>,
) -> js::Result<u32> {
    border(|| {
        let options = Options { smoothing, ignored };
        let (logits, targets) = (view(logits)?, view(targets)?);
        let found = cross_entropy_gradient(&logits, &targets, &view(log_sums)?, &view(dlosses)?, &options)?;
        Ok(found.into_handle())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Options = Options {
        smoothing: 0.0,
        ignored: Some(u32::MAX),
    };

    #[test]
    fn equal_logits_cost_the_logarithm_of_their_number() {
        let x = View::filled(&[2, 4], |_| 7.0);
        let labels = View::of(&[2], &[3u32, u32::MAX]);
        let [losses, tops] = cross_entropy(&x, &labels, &PLAIN).unwrap();
        let got = losses.slice::<f32>().unwrap();
        assert!((got[0] - 4f32.ln()).abs() < 1e-6 && got[1] == 0.0);
        let upstream = View::of(&[2], &[2f32, 2.0]);
        let dx = cross_entropy_gradient(&x, &labels, &tops, &upstream, &PLAIN).unwrap();
        for (got, want) in dx
            .slice::<f32>()
            .unwrap()
            .iter()
            .zip([0.5, 0.5, 0.5, -1.5, 0.0, 0.0, 0.0, 0.0])
        {
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
    }

    #[test]
    fn a_label_that_is_no_class_is_refused_with_its_row() {
        let x = View::filled(&[3, 4], |_| 0.0);
        let fault = cross_entropy(&x, &View::of(&[3], &[0u32, 3, 4]), &PLAIN)
            .err()
            .unwrap();
        assert!(
            fault.message.contains("label 4 of row 2 is outside of 4 classes"),
            "{}",
            fault.message
        );
    }
}
