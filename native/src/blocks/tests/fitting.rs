//! Scales and codes of blocks.

use super::*;

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
fn the_importance_of_columns_lowers_the_error_that_it_weighs_in_every_type() {
    let (columns, mut random) = (512, Random(11));
    let x = random.normals(columns * 96);
    // From 0.02 to 50, as the inputs of real layers differ.
    let importance: Vec<f32> = random.normals(columns).iter().map(|v| (1.3 * v).exp()).collect();
    for block_type in [Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K] {
        let error = |used: Option<&[f32]>| {
            let mut bytes = vec![0; x.len() / block_type.block_len() * block_type.block_bytes()];
            quantize(block_type, &x, columns, used, &mut bytes).unwrap();
            relative_rms(&x, &decode(block_type, &bytes), |i| {
                importance[i % columns] as f64
            })
        };
        let (with, without) = (error(Some(&importance)), error(None));
        println!("{block_type:?} {with:.5} {without:.5}");
        assert!(with < without, "{block_type:?}: {with} against {without}");
        // Only how inputs compare counts, and no size of theirs overflows.
        let large: Vec<f32> = importance.iter().map(|w| w * f32::powi(2.0, 118)).collect();
        assert_eq!(error(Some(&large)), with, "{block_type:?}");
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
