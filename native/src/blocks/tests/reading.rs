//! Blocks taken apart, put together and decoded.

use super::*;

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
        // Which of two NaN a sum keeps is left to the compiler.
        let bits_of = |x: f32| if x.is_nan() { f32::NAN } else { x }.to_bits();
        let bits = |x: Vec<f32>| x.into_iter().map(bits_of).collect::<Vec<_>>();
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
