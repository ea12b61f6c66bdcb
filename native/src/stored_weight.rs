//! Weights as they are stored, in words: what `resident_source.ts` puts together, so that a product of many parts is one call.
//!
//!   0 packed      form, order, bytes, whether inputs are f32 always      6 levels     planes, form and bytes of each, six tensors
//!   1 masked      bits or type, group, wide, stream, starts               7 sum        terms, each of them
//!   2 two levels  bits, rows, bytes, second level                         8 product    left, right
//!   3 sparse      starts, columns, values                                 9 scaled     of rows, of columns, the weight
//!   4 codebooks   codes, codebooks, scales                               10 permuted   order, the weight
//!   5 turned      order, left, right and factors there, order, left and right back, the weight

use crate::arena::{View, view};
use crate::dtype::DType;
use crate::elementwise::binary::binary;
use crate::fault::{Fault, Result, border, js};
use crate::float_rows::Written;
use crate::level_product::{self, LevelWeight};
use crate::masked_product::{Numbers, binding as masked};
use crate::packed_product::binding::{self as packed, activations_of};
use crate::packed_product::{Activations, Form};
use crate::{bilevel_product, codebook_lookup, copy, kronecker, sparse_product};
use napi::bindgen_prelude::Uint32Array;
use napi_derive::napi;

/// In place of a handle: nothing.
pub const NONE: u32 = u32::MAX;

/// Sums and the like inside each other, at most.
const DEEPEST: usize = 16;

pub enum Stored {
    Packed {
        form: Form,
        bytes: View,
        /// Column at each place, past the last for none.
        order: Option<View>,
        /// Inputs are never rounded.
        floats: bool,
    },
    Masked {
        numbers: Numbers,
        stream: View,
        starts: View,
    },
    TwoLevels {
        bits: usize,
        rows: usize,
        bytes: View,
        second: View,
    },
    Sparse([View; 3]),
    Codebooks([View; 3]),
    Turned {
        into: [View; 4],
        inner: Box<Stored>,
        back: [View; 3],
    },
    Levels(LevelWeight),
    Sum(Vec<Stored>),
    Product(Box<Stored>, Box<Stored>),
    Scaled {
        rows: Option<View>,
        columns: Option<View>,
        inner: Box<Stored>,
    },
    Permuted {
        order: View,
        inner: Box<Stored>,
    },
}

fn misfit(why: impl std::fmt::Display) -> Fault {
    Fault::shape(format!("stored weight: {why}"))
}

/// Words that are left.
pub struct Words<'a>(pub &'a [u32]);

impl Words<'_> {
    pub fn word(&mut self) -> Result<u32> {
        let (&word, rest) = self.0.split_first().ok_or_else(|| misfit("ends too early"))?;
        self.0 = rest;
        Ok(word)
    }

    fn number(&mut self) -> Result<usize> {
        Ok(self.word()? as usize)
    }

    fn tensor(&mut self) -> Result<View> {
        copy::contiguous(&view(self.word()?)?)
    }

    pub fn maybe(&mut self) -> Result<Option<View>> {
        match self.word()? {
            NONE => Ok(None),
            handle => Ok(Some(copy::contiguous(&view(handle)?)?)),
        }
    }

    fn tensors<const N: usize>(&mut self) -> Result<[View; N]> {
        let all = (0..N).map(|_| self.tensor()).collect::<Result<Vec<_>>>()?;
        all.try_into().map_err(|_| misfit("lost a tensor"))
    }

    pub fn stored(&mut self) -> Result<Stored> {
        self.inside(DEEPEST)
    }

    fn inside(&mut self, depth: usize) -> Result<Stored> {
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| misfit("has too many inside each other"))?;
        let kind = self.word()?;
        Ok(match kind {
            0 => Stored::Packed {
                form: Form::from_code(self.word()?).ok_or_else(|| misfit("no form has this code"))?,
                order: self.maybe()?,
                bytes: self.tensor()?,
                floats: self.word()? != 0,
            },
            1 => Stored::Masked {
                numbers: self.living()?,
                stream: self.tensor()?,
                starts: self.tensor()?,
            },
            2 => Stored::TwoLevels {
                bits: self.number()?,
                rows: self.number()?,
                bytes: self.tensor()?,
                second: self.tensor()?,
            },
            3 => Stored::Sparse(self.tensors()?),
            4 => Stored::Codebooks(self.tensors()?),
            5 => Stored::Turned {
                into: self.tensors()?,
                back: self.tensors()?,
                inner: Box::new(self.inside(depth)?),
            },
            6 => {
                let count = self.number()?;
                let planes = (0..count).map(|_| Ok((self.word()?, self.tensor()?)));
                let planes = planes.collect::<Result<_>>()?;
                let [columns, factors, groups, counts, lows, highs] = self.tensors()?;
                Stored::Levels(LevelWeight {
                    planes,
                    columns,
                    factors,
                    groups,
                    counts,
                    lows,
                    highs,
                })
            }
            7 => {
                let count = self.number()?;
                Stored::Sum((0..count).map(|_| self.inside(depth)).collect::<Result<_>>()?)
            }
            8 => Stored::Product(Box::new(self.inside(depth)?), Box::new(self.inside(depth)?)),
            9 => Stored::Scaled {
                rows: self.maybe()?,
                columns: self.maybe()?,
                inner: Box::new(self.inside(depth)?),
            },
            10 => Stored::Permuted {
                order: self.tensor()?,
                inner: Box::new(self.inside(depth)?),
            },
            _ => return Err(misfit(format!("no kind has the number {kind}"))),
        })
    }

    fn living(&mut self) -> Result<Numbers> {
        let (what, group, wide) = (self.word()?, self.word()?, self.word()? != 0);
        let floats = match what {
            16 => Some(Written::F16),
            17 => Some(Written::BF16),
            32 => Some(Written::F32),
            _ => None,
        };
        floats.map_or_else(
            || masked::codes_of(what, group as usize, wide),
            |written| Ok(Numbers::Floats(written)),
        )
    }
}

impl Stored {
    /// x f32 [m, in], contiguous -> [m, out]: the same bits as the parts one by one.
    pub fn multiply(&self, x: &View, activations: Activations) -> Result<View> {
        match self {
            Stored::Packed {
                form,
                bytes,
                order,
                floats,
            } => {
                let activations = if *floats { Activations::F32 } else { activations };
                let placed = order.as_ref().map(|order| in_places(x, order)).transpose()?;
                packed::product(*form, bytes, placed.as_ref().unwrap_or(x), activations)
            }
            Stored::Masked {
                numbers,
                stream,
                starts,
            } => masked::product(*numbers, [stream, starts], x, activations),
            Stored::TwoLevels {
                bits,
                rows,
                bytes,
                second,
            } => bilevel_product::binding::product((*bits, *rows), [bytes, second], x),
            Stored::Sparse(parts) => sparse_product::product(parts.each_ref(), x),
            Stored::Codebooks(parts) => codebook_lookup::binding::product(parts.each_ref(), x),
            Stored::Turned { into, inner, back } => {
                let [order, left, right, factors] = into;
                let inputs = kronecker::turn(x, order, (left, right), Some(factors), false)?;
                let [order, left, right] = back;
                kronecker::turn(
                    &inner.multiply(&inputs, activations)?,
                    order,
                    (left, right),
                    None,
                    true,
                )
            }
            Stored::Levels(weight) => level_product::product(weight, x, activations),
            Stored::Sum(terms) => {
                let mut sum = None;
                for term in terms {
                    let own = term.multiply(x, activations)?;
                    sum = Some(match sum {
                        None => own,
                        Some(sum) => binary("add", &sum, &own)?,
                    });
                }
                sum.ok_or_else(|| misfit("a sum has terms"))
            }
            Stored::Product(left, right) => left.multiply(&right.multiply(x, activations)?, activations),
            Stored::Scaled { rows, columns, inner } => {
                let scaled = columns
                    .as_ref()
                    .map(|factors| with_each_row("mul", x, factors))
                    .transpose()?;
                let y = inner.multiply(scaled.as_ref().unwrap_or(x), activations)?;
                rows.as_ref()
                    .map_or_else(|| Ok(y.clone()), |factors| with_each_row("mul", &y, factors))
            }
            Stored::Permuted { order, inner } => inner.multiply(&in_places(x, order)?, activations),
        }
    }
}

/// Numbers [columns] met by each row of x [m, columns].
pub fn with_each_row(name: &str, x: &View, numbers: &View) -> Result<View> {
    let (&[rows, columns], &[step]) = (&*x.shape, &*numbers.strides) else {
        return Err(misfit("rows have two axes, what meets them one"));
    };
    if *numbers.shape != [columns] {
        return Err(misfit(format!(
            "{:?} numbers meet rows of {columns}",
            &*numbers.shape
        )));
    }
    binary(
        name,
        x,
        &numbers.restrided(&[rows, columns], &[0, step], numbers.offset)?,
    )
}

/// Columns of x [m, in] in an order u32 [places], 0 where that is past the last.
fn in_places(x: &View, order: &View) -> Result<View> {
    let &[rows, columns] = &*x.shape else {
        return Err(misfit("rows have two axes"));
    };
    let order = order.slice::<u32>()?;
    let out = View::empty(DType::F32, &[rows, order.len()])?;
    if out.is_empty() || columns == 0 {
        return Ok(out);
    }
    let lines = out.slice_mut::<f32>()?.chunks_exact_mut(order.len());
    for (out, x) in lines.zip(x.slice::<f32>()?.chunks_exact(columns)) {
        for (out, &column) in out.iter_mut().zip(order) {
            *out = x.get(column as usize).copied().unwrap_or(0.0);
        }
    }
    Ok(out)
}

/// words of one weight, x f32 [m, in]. Result f32 [m, out].
#[napi]
pub fn stored_product(words: Uint32Array, x: u32, activations: String) -> js::Result<u32> {
    border(|| {
        let mut words = Words(&words);
        let weight = words.stored()?;
        if !words.0.is_empty() {
            return Err(misfit("has words behind its end"));
        }
        let x = copy::contiguous(&view(x)?)?;
        Ok(weight.multiply(&x, activations_of(&activations)?)?.into_handle())
    })
}
