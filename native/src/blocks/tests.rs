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
    dequantize(block_type, bytes, &mut out);
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

#[test]
fn the_golden_block_decodes_as_in_the_reference() {
    // Byte k is 73k + 41, and every f16 field is 1; then the sums of x_i and of i x_i, x_0, x_17 and the last x.
    let golden = [
        (Q8_0, -48.0, -640.0, [-69.0, -108.0, -110.0]),
        (Q4_0, -33.0, -766.0, [3.0, -8.0, -8.0]),
        (IQ4_NL, -481.0, -11595.0, [38.0, -127.0, -127.0]),
        (Q4_1, 257.0, 3737.0, [14.0, 10.0, 10.0]),
        (Q5_0, -45.0, -1140.0, [15.0, -14.0, 2.0]),
        (Q5_1, 533.0, 8043.0, [18.0, 28.0, 12.0]),
        (Q2_K, 1235.0, 141639.0, [7.0, -3.0, -7.0]),
        (Q3_K, 234.0, 34512.0, [-7.0, -4.0, -24.0]),
        (Q4_K, 49880.0, 6956024.0, [68.0, -23.0, -23.0]),
        (Q5_K, 106600.0, 14434440.0, [276.0, -23.0, -23.0]),
        (Q6_K, -14844.0, -1613284.0, [161.0, 100.0, 288.0]),
    ];
    for (block_type, sum, weighted, some) in golden {
        let mut bytes: Vec<u8> = (0..block_type.block_bytes())
            .map(|k| (73 * k + 41) as u8)
            .collect();
        let (d, dmin) = layout::half_positions(block_type);
        for at in [Some(d), dmin].into_iter().flatten() {
            bytes[at..at + 2].copy_from_slice(&[0x00, 0x3c]);
        }
        let x = decode(block_type, &bytes);
        assert_eq!(x.iter().sum::<f32>(), sum, "{block_type:?}");
        assert_eq!(
            x.iter()
                .enumerate()
                .map(|(i, v)| i as f64 * *v as f64)
                .sum::<f64>(),
            weighted,
            "{block_type:?}"
        );
        assert_eq!([x[0], x[17], *x.last().unwrap()], some, "{block_type:?}");
    }
}

#[test]
fn decoding_is_the_formula_on_the_unpacked_parts() {
    let mut random = Random(1);
    for block_type in CODED {
        let (len, size) = (block_type.block_len(), block_type.block_bytes());
        let bytes = random.bytes(200 * size);
        let x = decode(block_type, &bytes);
        let (mut parameters, mut codes) = (BlockParameters::default(), vec![0; len]);
        for (bytes, x) in bytes.chunks_exact(size).zip(x.chunks_exact(len)) {
            block_type.unpack(bytes, &mut parameters, &mut codes);
            for (i, &x) in x.iter().enumerate() {
                let k = i / block_type.sub_len();
                let value = parameters.step(k) * block_type.level(codes[i]) - parameters.offset(k);
                assert!(
                    x == value || x.is_nan() && value.is_nan(),
                    "{block_type:?} {i}: {x} {value}"
                );
            }
        }
    }
}

#[test]
fn the_baseline_and_the_vector_loops_decode_the_same_bits() {
    let mut random = Random(2);
    for block_type in BlockType::ALL {
        let bytes = random.bytes(96 * block_type.block_bytes());
        let mut baseline = vec![0.0; 96 * block_type.block_len()];
        decode::decode_all(block_type, &bytes, &mut baseline);
        let bits = |x: Vec<f32>| x.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(baseline), bits(decode(block_type, &bytes)), "{block_type:?}");
    }
}

#[test]
fn a_block_taken_apart_and_put_together_has_the_same_bytes() {
    let mut random = Random(3);
    for block_type in CODED {
        let size = block_type.block_bytes();
        for _ in 0..200 {
            let mut bytes = random.bytes(size);
            // No NaN: the quiet bit of its payload would be set.
            let (d, dmin) = layout::half_positions(block_type);
            for at in [Some(d), dmin].into_iter().flatten() {
                bytes[at + 1] &= 0xbf;
            }
            let (mut parameters, mut codes) = (BlockParameters::default(), vec![0; block_type.block_len()]);
            block_type.unpack(&bytes, &mut parameters, &mut codes);
            assert!(
                codes
                    .iter()
                    .all(|&code| (code as usize) < block_type.code_count())
            );
            // Left-over bytes must not show through.
            let mut packed = vec![0xff; size];
            block_type.pack(&parameters, &codes, &mut packed);
            assert_eq!(packed, bytes, "{block_type:?}");
        }
    }
}

#[test]
fn relative_rms_errors_on_gaussian_weights_are_those_of_the_reference_writers() {
    let x = Random(4).normals(256 * 1024);
    let reference = [
        (Q2_K, 0.296),
        (Q3_K, 0.150),
        (Q4_0, 0.085),
        (Q4_1, 0.078),
        (Q4_K, 0.071),
        (Q5_0, 0.042),
        (Q5_1, 0.038),
        (Q5_K, 0.036),
        (Q6_K, 0.0177),
        (Q8_0, 0.0053),
    ];
    for (block_type, expected) in reference {
        let rms = relative_rms(&x, &decode(block_type, &encode(block_type, &x, None)), |_| 1.0);
        println!("{block_type:?} {rms:.5} of {expected}");
        assert!(rms < 1.05 * expected, "{block_type:?}: {rms} against {expected}");
    }
    let rms = |block_type| relative_rms(&x, &decode(block_type, &encode(block_type, &x, None)), |_| 1.0);
    let order = [Q2_K, Q3_K, Q4_0, Q4_K, Q5_0, Q5_K, Q6_K, Q8_0].map(rms);
    assert!(order.is_sorted_by(|a, b| a > b), "{order:?}");
    // Levels that lie denser near zero suit Gaussian weights better than even ones.
    println!("IQ4_NL {:.5}", rms(IQ4_NL));
    assert!(rms(IQ4_NL) < rms(Q4_0));
}

#[test]
fn importance_lowers_the_error_where_it_lies() {
    let x = Random(5).normals(256 * 256);
    let importance: Vec<f32> = (0..x.len())
        .map(|i| if i % 4 == 0 { 100.0 } else { 1.0 })
        .collect();
    for block_type in [Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K] {
        let error = |importance_used| {
            let y = decode(block_type, &encode(block_type, &x, importance_used));
            relative_rms(&x, &y, |i| importance[i] as f64)
        };
        let (with, without) = (error(Some(&importance[..])), error(None));
        assert!(with < without, "{block_type:?}: {with} against {without}");
        // Importance 0 everywhere says nothing, and changes nothing but the rule of the simple types.
        if matches!(block_type, Q2_K | Q3_K | Q4_K | Q5_K | Q6_K | IQ4_NL) {
            let zeros = vec![0.0; x.len()];
            assert_eq!(
                encode(block_type, &x, Some(&zeros)),
                encode(block_type, &x, None),
                "{block_type:?}"
            );
        }
    }
}

#[test]
fn requantising_a_decoded_block_with_its_own_scales_returns_its_codes() {
    let mut random = Random(6);
    for block_type in CODED {
        let len = block_type.block_len();
        let x = random.normals(64 * 256);
        let bytes = encode(block_type, &x, None);
        let y = decode(block_type, &bytes);
        let (mut parameters, mut codes, mut again) = (BlockParameters::default(), vec![0; len], vec![0; len]);
        for (bytes, y) in bytes
            .chunks_exact(block_type.block_bytes())
            .zip(y.chunks_exact(len))
        {
            block_type.unpack(bytes, &mut parameters, &mut codes);
            block_type.quantize_with(y, &parameters, &mut again);
            assert_eq!(codes, again, "{block_type:?}");
        }
    }
}

#[test]
fn fitted_parameters_are_exactly_what_is_stored() {
    let mut random = Random(7);
    for block_type in CODED {
        // Magnitudes from subnormal scales to large ones.
        for magnitude in [1e-9, 1e-6, 1e-3, 1.0, 1e4] {
            let x: Vec<f32> = random
                .normals(block_type.block_len())
                .iter()
                .map(|v| v * magnitude)
                .collect();
            let fitted = block_type.fit(&x, None);
            let mut codes = vec![0; block_type.block_len()];
            block_type.quantize_with(&x, &fitted, &mut codes);
            let mut bytes = vec![0; block_type.block_bytes()];
            block_type.pack(&fitted, &codes, &mut bytes);
            let (mut stored, mut again) = (BlockParameters::default(), vec![0; block_type.block_len()]);
            block_type.unpack(&bytes, &mut stored, &mut again);
            assert_eq!((stored, again), (fitted, codes), "{block_type:?} at {magnitude}");
        }
    }
}

#[test]
fn every_element_gets_its_nearest_level() {
    let mut random = Random(8);
    for block_type in CODED {
        let x = random.normals(block_type.block_len());
        let fitted = block_type.fit(&x, None);
        let mut codes = vec![0; x.len()];
        block_type.quantize_with(&x, &fitted, &mut codes);
        for (i, (&x, &code)) in x.iter().zip(&codes).enumerate() {
            let k = i / block_type.sub_len();
            let distance = |code: u8| {
                let value = fitted.step(k) as f64 * block_type.level(code) as f64 - fitted.offset(k) as f64;
                (x as f64 - value).abs()
            };
            let least = (0..block_type.code_count())
                .map(|code| distance(code as u8))
                .fold(f64::MAX, f64::min);
            // A rounding of the quotient may prefer the other of two almost equally near levels.
            assert!(
                distance(code) <= least + 1e-5 * fitted.step(k).abs() as f64,
                "{block_type:?}"
            );
        }
    }
}

#[test]
fn constant_one_sided_and_zero_blocks_are_close_to_themselves() {
    for block_type in CODED {
        let len = block_type.block_len();
        assert!(
            decode(block_type, &encode(block_type, &vec![0.0; len], None))
                .iter()
                .all(|&v| v == 0.0)
        );
        for value in [1.0f32, -1.0, 3.5e-5] {
            for y in decode(block_type, &encode(block_type, &vec![value; len], None)) {
                // Half a level of the coarsest type, and 127 times half the distance of subnormal scales.
                assert!(
                    (y - value).abs() <= 0.02 * value.abs() + 127.0 * f32::powi(2.0, -25),
                    "{block_type:?}: {y} for {value}"
                );
            }
        }
    }
}

#[test]
fn weights_so_small_that_scales_are_subnormal_keep_most_of_their_precision() {
    let x = Random(10).normals(256 * 64);
    let small: Vec<f32> = x.iter().map(|v| v * 1e-4).collect();
    for block_type in [Q2_K, Q3_K, Q4_K, Q5_K, Q6_K] {
        let error = |x: &[f32]| relative_rms(x, &decode(block_type, &encode(block_type, x, None)), |_| 1.0);
        let (usual, subnormal) = (error(&x), error(&small));
        println!("{block_type:?} {usual:.4} {subnormal:.4}");
        // A d of a few steps leaves less than half of the integers to the scales.
        assert!(
            subnormal < 1.2 * usual,
            "{block_type:?}: {subnormal} against {usual}"
        );
    }
}

#[test]
fn values_that_cannot_be_stored_are_found_at_their_first_position() {
    for block_type in BlockType::ALL {
        let columns = 256;
        let mut x = vec![0.5; 4 * columns];
        let mut out = vec![0; x.len() / block_type.block_len() * block_type.block_bytes()];
        assert_eq!(quantize(block_type, &x, columns, None, &mut out), Ok(()));
        (x[900], x[301]) = (f32::NAN, f32::NEG_INFINITY);
        let error = quantize(block_type, &x, columns, None, &mut out).unwrap_err();
        assert_eq!(
            error,
            RowError {
                position: 301,
                value: f32::NEG_INFINITY
            }
        );
        x[40] = f32::MAX;
        if block_type != F32 {
            assert_eq!(
                quantize(block_type, &x, columns, None, &mut out)
                    .unwrap_err()
                    .position,
                40
            );
        }
    }
}

#[test]
fn the_largest_values_that_are_accepted_decode_to_finite_ones() {
    for block_type in BlockType::ALL {
        for sign in [1.0, -1.0] {
            let mut x = vec![0.0; 256];
            x[0] = sign * block_type.largest();
            x[255] = -sign * block_type.largest();
            assert!(
                decode(block_type, &encode(block_type, &x, None))
                    .iter()
                    .all(|v| v.is_finite()),
                "{block_type:?}"
            );
        }
    }
}

#[test]
fn the_number_of_threads_does_not_show() {
    let x = Random(9).normals(64 * 512);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let mut bytes = vec![0; x.len() / 256 * Q4_K.block_bytes()];
            quantize(Q4_K, &x, 512, None, &mut bytes).unwrap();
            let values = decode(Q4_K, &bytes);
            (bytes, values)
        })
    };
    assert!(run(1) == run(3));
}
