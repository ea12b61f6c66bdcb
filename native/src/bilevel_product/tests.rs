use super::*;
use half::f16;

fn number(i: usize) -> f32 {
    ((i * 7919 + 13) % 257) as f32 / 128.0 - 1.0
}

/// Rows of heads and codes by hand, bit for bit.
fn packed(bits: usize, rows: usize, groups: usize) -> Vec<u8> {
    let mut bytes = vec![0; rows * row_bytes(bits, groups) + PAST];
    for row in 0..rows {
        let own = &mut bytes[row * row_bytes(bits, groups)..][..row_bytes(bits, groups)];
        for group in 0..groups {
            let (scale, zero) = ((row * 31 + group * 17) % 8, (row * 13 + group * 5) % 8);
            own[group] = (scale | (zero << 4)) as u8;
        }
        for column in 0..groups * GROUP {
            let code = (row * 7 + column * 11 + column / 5) % (1 << bits);
            for bit in 0..bits {
                let at = column * bits + bit;
                own[groups + at / 8] |= ((code >> bit & 1) << (at % 8)) as u8;
            }
        }
    }
    bytes
}

#[test]
fn outputs_are_products_with_the_decoded_numbers_however_many_inputs_there_are() {
    for bits in 1..=4 {
        for (rows, height, groups) in [(1, 1, 2), (5, 1, 6), (32, 16, 16), (48, 16, 38)] {
            let bytes = packed(bits, rows, groups);
            let second: Vec<u16> = (0..rows / height * 4 * groups)
                .map(|i| {
                    let (part, own) = (i / groups % 4, number(i));
                    let value = [own / 64.0, own * 5.0, own / 2.0, own * 6.0][part];
                    // One group has numbers below the smallest normal f16.
                    let value = if i % groups == 1 && part == 0 {
                        value * 1e-3
                    } else {
                        value
                    };
                    f16::from_f32(value).to_bits()
                })
                .collect();
            let weight = Bilevel {
                bits,
                bytes: &bytes,
                second: &second,
                rows,
                height,
                groups,
            };
            // The last columns of the last group are missing.
            let columns = groups * GROUP - 3;
            let mut numbers = vec![f32::NAN; rows * columns];
            weight.decode(0..rows, columns, &mut numbers).unwrap();
            for many in [1, 3, 4, 6, 20] {
                let x: Vec<f32> = (0..many * columns).map(|i| number(5 * i + 2)).collect();
                let mut out = vec![f32::NAN; many * rows];
                multiply(&weight, &x, columns, &mut out).unwrap();
                for m in 0..many {
                    for row in 0..rows {
                        let own = numbers[row * columns..(row + 1) * columns].iter();
                        let pairs = own.zip(&x[m * columns..]).map(|(w, x)| f64::from(w * x));
                        let (want, size) =
                            pairs.fold((0.0, 0.0), |(sum, size), own| (sum + own, size + own.abs()));
                        let found = f64::from(out[m * rows + row]);
                        assert!(
                            (found - want).abs() <= size * 32.0 * f64::from(f32::EPSILON),
                            "{bits} bits, {rows} rows, {groups} groups, {many} inputs: {found} {want}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_are_worked_out_by_hand() {
    // Scale code 3 and zero code 2 of a group of 2 bits: s = (3 - 1) 0.25 = 0.5, z = (2 - 0) 0.5 = 1.
    let half = |x: f32| f16::from_f32(x).to_bits();
    let second = [0.25, 0.25, 1.0, 1.0, 0.5, 0.5, 0.0, 0.0].map(half);
    let mut bytes = vec![0x23, 0x23, 0b11_10_01_00, 0, 0, 0, 0, 0, 0, 0];
    bytes.resize(10 + PAST, 0);
    let weight = Bilevel {
        bits: 2,
        bytes: &bytes,
        second: &second,
        rows: 1,
        height: 1,
        groups: 2,
    };
    let mut numbers = vec![0.0; 32];
    decode_row(&weight, 0, &mut numbers);
    assert_eq!(numbers[..5], [-0.5, 0.0, 0.5, 1.0, -0.5]);
}
