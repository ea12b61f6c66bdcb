//! Kernels and solvers of Pare. Knows nothing of files, networks or methods.

pub mod affine_grid;
pub mod arena;
pub mod attention;
pub mod bitmask;
pub mod blocks;
pub mod channel_norm;
pub mod cholesky;
pub mod codebook_decode;
pub mod compare;
pub mod concat;
pub mod convolution;
pub mod copy;
pub mod crew;
pub mod cross_entropy;
pub mod definite;
pub mod dropout;
pub mod dtype;
pub mod elementwise;
pub mod error_function;
pub mod exponential;
pub mod fault;
pub mod file_lock;
pub mod gather;
pub mod gram;
pub mod grid_decode;
pub mod grid_rule;
pub mod group_choice;
pub mod index_add;
pub mod indices;
pub mod inverse_factor;
pub mod lanes;
pub mod logarithm;
pub mod masked_grid;
pub mod math;
pub mod matmul;
pub mod matrices;
pub mod memory_rate;
pub mod micro_kernel;
pub mod micro_tiles;
pub mod norm;
pub mod norm_gradient;
pub mod number_rule;
pub mod optimiser_steps;
pub mod orthogonal;
pub mod packing;
pub mod panel;
pub mod parallel;
pub mod pool;
pub mod pooling;
pub mod product;
pub mod prune;
pub mod quantize;
pub mod random;
pub mod reduce;
pub mod rotary;
pub mod rows;
pub mod scatter;
pub mod shape;
pub mod sigmoid;
pub mod simd;
pub mod slab_choice;
pub mod softmax;
pub mod softmax_gradient;
pub mod solve;
pub mod sort;
pub mod sparse_sweep;
pub mod sparse_tile;
pub mod sweep;
pub mod tall_product;
pub mod tensors;
pub mod tile_sizes;
pub mod token_parts;
pub mod tokenizer;
pub mod tokenizer_training;
pub mod trigonometry;
pub mod updates;
pub mod walk;

/// The version of the native core; it must equal that of the package.
#[napi_derive::napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
