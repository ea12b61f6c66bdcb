mod fitting;
mod reading;
mod rows;

use super::*;

const CODED: [BlockType; 11] = [Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K];

/// A stream of numbers with a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e3779b97f4a7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
        z ^ (z >> 31)
    }

    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f32 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.uniform()).cos()) as f32
    }

    fn normals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.normal()).collect()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

fn encode(block_type: BlockType, x: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    let mut out = vec![0; x.len() / block_type.block_len() * block_type.block_bytes()];
    block_type
        .quantize_row(x, importance, &mut out)
        .expect("finite values");
    out
}

fn decode(block_type: BlockType, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; bytes.len() / block_type.block_bytes() * block_type.block_len()];
    dequantize(block_type, bytes, &mut out).unwrap();
    out
}

fn relative_rms(x: &[f32], y: &[f32], weights: impl Fn(usize) -> f64) -> f64 {
    let (mut error, mut total) = (0.0, 0.0);
    for (i, (&x, &y)) in x.iter().zip(y).enumerate() {
        error += weights(i) * (x as f64 - y as f64).powi(2);
        total += weights(i) * (x as f64).powi(2);
    }
    (error / total).sqrt()
}
