//! A whole decoder block of the llama family for rows that are written or read with a cache: what the single operations do,
//! with the same bits, in one call. For one token most of the time would else go into calls between them.

use crate::arena::{View, view};
use crate::attention::{Options, attention};
use crate::concat::concat;
use crate::copy;
use crate::dtype::DType;
use crate::elementwise::binary::binary;
use crate::elementwise::swiglu::swiglu;
use crate::fault::{Fault, Result, border, js};
use crate::norm::rms_norm;
use crate::packed_product::binding::{activations_of, checked};
use crate::packed_product::{Activations, Form, Product, multiply};
use crate::rotary::rotary;
use crate::stored_weight::{NONE, Stored, Words, with_each_row};
use napi::bindgen_prelude::Uint32Array;
use napi_derive::napi;

/// Norms and heads in front of the weights, and numbers of each sequence, in calls.
const HEAD: usize = 4;
const OF_ROWS: usize = 5;

/// Neighbouring rows that are new tokens of one sequence, and its cache.
struct SequenceRows {
    tokens: usize,
    /// Tokens that the cache holds before them.
    past: usize,
    /// f32 [room, 1, kvHeads, headSize], both; the new tokens are put behind the past.
    keys: View,
    values: View,
    /// f32 [1, heads, tokens, past + tokens], added to the scores.
    bias: Option<View>,
}

fn maybe(handle: u32) -> Result<Option<View>> {
    if handle == NONE {
        Ok(None)
    } else {
        view(handle).map(Some)
    }
}

impl SequenceRows {
    fn new(&[tokens, past, keys, values, bias]: &[u32; OF_ROWS]) -> Result<SequenceRows> {
        Ok(SequenceRows {
            tokens: tokens as usize,
            past: past as usize,
            keys: view(keys)?,
            values: view(values)?,
            bias: maybe(bias)?,
        })
    }
}

/// A weight and its bias f32 [out].
struct Layer {
    weight: Stored,
    bias: Option<View>,
}

impl Layer {
    fn new(words: &mut Words) -> Result<Layer> {
        Ok(Layer {
            weight: words.stored()?,
            bias: words.maybe()?,
        })
    }

    /// Form and bytes of a weight that is packed in the order of its columns.
    fn packed(&self) -> Option<(Form, &View)> {
        match &self.weight {
            Stored::Packed {
                form,
                bytes,
                order: None,
                floats: false,
            } => Some((*form, bytes)),
            _ => None,
        }
    }
}

/// x f32 [rows, in] -> [rows, out] of each layer
fn products<const N: usize>(layers: [&Layer; N], x: &View, activations: Activations) -> Result<[View; N]> {
    let packed: Vec<_> = layers.iter().filter_map(|layer| layer.packed()).collect();
    let outs = if packed.len() == N {
        together(&packed, layers, x, activations)?
    } else {
        let each = layers.iter().map(|layer| {
            let y = layer.weight.multiply(x, activations)?;
            layer
                .bias
                .as_ref()
                .map_or_else(|| Ok(y.clone()), |bias| with_each_row("add", &y, bias))
        });
        each.collect::<Result<Vec<_>>>()?
    };
    outs.try_into().map_err(|_| misfit("lost a product"))
}

/// Packed weights side by side.
fn together<const N: usize>(
    packed: &[(Form, &View)],
    layers: [&Layer; N],
    x: &View,
    activations: Activations,
) -> Result<Vec<View>> {
    let &[rows, columns] = &*x.shape else {
        return Err(misfit("rows have two axes"));
    };
    let weights = packed
        .iter()
        .zip(layers)
        .map(|(&(form, bytes), layer)| checked(form, bytes, columns, layer.bias.as_ref()))
        .collect::<Result<Vec<_>>>()?;
    let outs = weights
        .iter()
        .map(|weight| View::empty(DType::F32, &[rows, weight.rows]))
        .collect::<Result<Vec<_>>>()?;
    let mut products = Vec::with_capacity(N);
    for ((layer, weight), out) in layers.iter().zip(weights).zip(&outs) {
        products.push(Product {
            weight,
            bias: layer.bias.as_ref().map(View::slice).transpose()?,
            out: out.slice_mut()?,
        });
    }
    if outs.iter().all(|out| !out.is_empty()) {
        multiply(&mut products, x.slice()?, activations)?;
    }
    drop(products);
    Ok(outs)
}

fn misfit(why: &str) -> Fault {
    Fault::shape(format!("decoder block: {why}"))
}

/// Rows [rows, heads * size] as [1, heads, rows, size], turned by their positions.
fn turned(x: &View, heads: usize, cos: &View, sin: &View) -> Result<View> {
    let (rows, size) = (x.shape[0], x.shape[1] / heads);
    let apart = x.restrided(&[1, heads, rows, size], &[0, size, heads * size, 1], x.offset)?;
    rotary(&apart, cos, sin, false)
}

/// Puts rows [1, kvHeads, rows, size] from `first` on behind the past of a cache, and gives all of it,
/// [1, kvHeads, past + tokens, size].
fn remember(memory: &View, own: &View, first: usize, (past, tokens): (usize, usize)) -> Result<View> {
    let (&[room, 1, heads, size], &[1, kv_heads, rows, width]) = (&*memory.shape, &*own.shape) else {
        return Err(misfit("caches and heads have four axes"));
    };
    if heads != kv_heads || size != width || past + tokens > room || first + tokens > rows {
        return Err(misfit(&format!(
            "a cache {:?} has no place for {tokens} tokens of {:?} behind {past}",
            &*memory.shape, &*own.shape
        )));
    }
    let line = heads * size;
    let (from, to) = (own.tail::<f32>()?, memory.slice_mut::<f32>()?);
    for token in 0..tokens {
        for head in 0..heads {
            let start = head * own.strides[1] + (first + token) * own.strides[2];
            to[(past + token) * line + head * size..][..size].copy_from_slice(&from[start..start + size]);
        }
    }
    memory.restrided(
        &[1, heads, past + tokens, size],
        &[0, size, line, 1],
        memory.offset,
    )
}

/// A call for each block of each token: numbers go in arrays. `block` holds the norms of attention and MLP (f32 [hidden]),
/// heads, heads of keys, then words of `stored_weight.rs` and bias of q, k, v, o, gate, up and down. `sequences` holds tokens, past, keys, values and bias of each. hidden f32 [rows, hidden], cos and sin f32 [rows, headSize / 2]; the
/// rows of the sequences follow each other and are all there are. Result [rows, hidden].
#[napi]
pub fn decoder_block(
    block: Uint32Array,
    epsilon: f64,
    activations: String,
    hidden: u32,
    cos: u32,
    sin: u32,
    sequences: Uint32Array,
) -> js::Result<u32> {
    border(|| {
        let Some((&[attention_norm, mlp_norm, heads, kv_heads], layers)) = block.split_first_chunk::<HEAD>()
        else {
            return Err(misfit("has norms and heads"));
        };
        let mut words = Words(layers);
        let layers = (0..7)
            .map(|_| Layer::new(&mut words))
            .collect::<Result<Vec<_>>>()?;
        let ([q, k, v, o, gate, up, down], []) = (&layers[..], words.0) else {
            return Err(misfit("has seven weights"));
        };
        let sequences = sequences
            .as_chunks()
            .0
            .iter()
            .map(SequenceRows::new)
            .collect::<Result<Vec<_>>>()?;
        let activations = activations_of(&activations)?;
        let hidden = copy::contiguous(&view(hidden)?)?;
        let (cos, sin) = (view(cos)?, view(sin)?);
        let (heads, kv_heads) = (heads as usize, kv_heads as usize);
        let rows: usize = sequences.iter().map(|own| own.tokens).sum();
        if hidden.shape.len() != 2 || hidden.shape[0] != rows || heads == 0 || kv_heads == 0 {
            return Err(misfit(&format!(
                "sequences have {rows} rows in all, got {:?}",
                &*hidden.shape
            )));
        }
        let x = rms_norm(&hidden, Some(&view(attention_norm)?), epsilon)?;
        let [own_q, own_k, own_v] = products([q, k, v], &x, activations)?;
        if !own_q.shape[1].is_multiple_of(heads) || !own_k.shape[1].is_multiple_of(kv_heads) {
            return Err(misfit("heads do not divide queries or keys"));
        }
        let size = own_v.shape[1] / kv_heads;
        let queries = turned(&own_q, heads, &cos, &sin)?;
        let keys = turned(&own_k, kv_heads, &cos, &sin)?;
        let values = own_v.restrided(
            &[1, kv_heads, rows, size],
            &[0, size, kv_heads * size, 1],
            own_v.offset,
        )?;
        let mut first = 0;
        let mut mixed = Vec::with_capacity(sequences.len());
        for own in &sequences {
            let (past, tokens) = (own.past, own.tokens);
            let keys = remember(&own.keys, &keys, first, (past, tokens))?;
            let values = remember(&own.values, &values, first, (past, tokens))?;
            let head_size = queries.shape[3];
            let queries = queries.restrided(
                &[1, heads, tokens, head_size],
                &queries.strides,
                queries.offset + first * queries.strides[2],
            )?;
            let options = Options {
                scale: (head_size as f64).powf(-0.5),
                causal: true,
            };
            let (out, _) = attention(&queries, &keys, &values, own.bias.as_ref(), options, false)?;
            mixed.push(out.restrided(&[tokens, heads * size], &[heads * size, 1], out.offset)?);
            first += tokens;
        }
        let mixed = if mixed.len() == 1 {
            mixed.remove(0)
        } else {
            concat(&mixed, 0)?
        };
        let [mixed] = products([o], &mixed, activations)?;
        let residual = binary("add", &hidden, &mixed)?;
        let x = rms_norm(&residual, Some(&view(mlp_norm)?), epsilon)?;
        let [gate, up] = products([gate, up], &x, activations)?;
        let [down] = products([down], &swiglu(&gate, &up)?, activations)?;
        Ok(binary("add", &residual, &down)?.into_handle())
    })
}
