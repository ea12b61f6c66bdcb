//! Rows of blocks: what is refused, and threads.

use super::*;

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
