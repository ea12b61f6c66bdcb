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
use crate::packed_product::binding::{PackedForm, activations_of, checked, form_of};
use crate::packed_product::{Activations, Form, multiply};
use crate::rotary::rotary;
use napi_derive::napi;

/// A packed weight and its bias f32 [out].
#[napi(object)]
pub struct PackedLayer {
    pub form: PackedForm,
    /// u8 [out, bytes of a row]
    pub bytes: u32,
    pub bias: Option<u32>,
}

#[napi(object)]
pub struct DecoderBlock {
    /// f32 [hidden], both.
    pub attention_norm: u32,
    pub mlp_norm: u32,
    pub epsilon: f64,
    pub heads: u32,
    pub kv_heads: u32,
    /// q, k, v, o, gate, up and down.
    pub layers: Vec<PackedLayer>,
    /// `f32` or `int8`
    pub activations: String,
}

/// Neighbouring rows that are new tokens of one sequence, and its cache.
#[napi(object)]
pub struct DecoderRows {
    pub tokens: u32,
    /// Tokens that the cache holds before them.
    pub past: u32,
    /// f32 [room, 1, kvHeads, headSize], both; the new tokens are put behind the past.
    pub keys: u32,
    pub values: u32,
    /// f32 [1, heads, tokens, past + tokens], added to the scores.
    pub bias: Option<u32>,
}

struct Layer {
    form: Form,
    bytes: View,
    bias: Option<View>,
}

impl Layer {
    fn new(layer: &PackedLayer) -> Result<Layer> {
        Ok(Layer {
            form: form_of(&layer.form)?,
            bytes: copy::contiguous(&view(layer.bytes)?)?,
            bias: layer.bias.map(view).transpose()?,
        })
    }

    /// x f32 [rows, in] -> [rows, out]
    fn of(&self, x: &View, activations: Activations) -> Result<View> {
        let &[rows, columns] = &*x.shape else {
            return Err(misfit("rows have two axes"));
        };
        let weight = checked(self.form, &self.bytes, columns, self.bias.as_ref())?;
        let y = View::empty(DType::F32, &[rows, weight.rows])?;
        if !y.is_empty() {
            let bias = self.bias.as_ref().map(View::slice::<f32>).transpose()?;
            multiply(&weight, x.slice()?, activations, bias, y.slice_mut()?)?;
        }
        Ok(y)
    }
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

/// hidden f32 [rows, hidden], cos and sin f32 [rows, headSize / 2]; the rows of the sequences follow each other and are all
/// there are. Result [rows, hidden].
#[napi]
pub fn decoder_block(
    block: DecoderBlock,
    hidden: u32,
    cos: u32,
    sin: u32,
    sequences: Vec<DecoderRows>,
) -> js::Result<u32> {
    border(|| {
        let layers = block.layers.iter().map(Layer::new).collect::<Result<Vec<_>>>()?;
        let [q, k, v, o, gate, up, down] = &layers[..] else {
            return Err(misfit("has seven weights"));
        };
        let activations = activations_of(&block.activations)?;
        let hidden = copy::contiguous(&view(hidden)?)?;
        let (cos, sin) = (view(cos)?, view(sin)?);
        let (heads, kv_heads) = (block.heads as usize, block.kv_heads as usize);
        let rows: usize = sequences.iter().map(|own| own.tokens as usize).sum();
        if hidden.shape.len() != 2 || hidden.shape[0] != rows || heads == 0 || kv_heads == 0 {
            return Err(misfit(&format!(
                "sequences have {rows} rows in all, got {:?}",
                &*hidden.shape
            )));
        }
        let x = rms_norm(&hidden, Some(&view(block.attention_norm)?), block.epsilon)?;
        let [own_q, own_k, own_v] = [q, k, v].map(|layer| layer.of(&x, activations));
        let (own_q, own_k, own_v) = (own_q?, own_k?, own_v?);
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
            let (past, tokens) = (own.past as usize, own.tokens as usize);
            let keys = remember(&view(own.keys)?, &keys, first, (past, tokens))?;
            let values = remember(&view(own.values)?, &values, first, (past, tokens))?;
            let head_size = queries.shape[3];
            let queries = queries.restrided(
                &[1, heads, tokens, head_size],
                &queries.strides,
                queries.offset + first * queries.strides[2],
            )?;
            let bias = own.bias.map(view).transpose()?;
            let options = Options {
                scale: (head_size as f64).powf(-0.5),
                causal: true,
            };
            let (out, _) = attention(&queries, &keys, &values, bias.as_ref(), options, false)?;
            mixed.push(out.restrided(&[tokens, heads * size], &[heads * size, 1], out.offset)?);
            first += tokens;
        }
        let mixed = if mixed.len() == 1 {
            mixed.remove(0)
        } else {
            concat(&mixed, 0)?
        };
        let residual = binary("add", &hidden, &o.of(&mixed, activations)?)?;
        let x = rms_norm(&residual, Some(&view(block.mlp_norm)?), block.epsilon)?;
        let activated = swiglu(&gate.of(&x, activations)?, &up.of(&x, activations)?)?;
        Ok(binary("add", &residual, &down.of(&activated, activations)?)?.into_handle())
    })
}
