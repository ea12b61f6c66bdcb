use super::*;

fn number(i: usize) -> f32 {
    ((i * 7919 + 13) % 257) as f32 / 64.0 - 2.0
}

#[test]
fn outputs_are_the_sums_of_their_entries_and_codes_come_back() {
    for (out, groups, books, count, wide) in [
        (1, 1, 1, 2, 1),
        (64, 3, 2, 256, 8),
        (65, 9, 2, 255, 8),
        (200, 20, 1, 16, 4),
        (300, 7, 3, 256, 5),
        (700, 33, 2, 200, 8),
        (130, 330, 2, 256, 8),
    ] {
        let pairs = groups * books;
        let codes: Vec<u32> = (0..out * pairs)
            .map(|i| (i as u32).wrapping_mul(2_654_435_761) % count as u32)
            .collect();
        let packed = pack(&codes, (out, pairs), count).unwrap();
        let mut back = vec![0; codes.len()];
        unpack(&packed, (out, pairs), &mut back);
        assert_eq!(back, codes);
        let codebooks: Vec<f32> = (0..books * count * wide).map(number).collect();
        let scales: Vec<f32> = (0..out).map(|i| 1.0 + i as f32 / 64.0).collect();
        let x: Vec<f32> = (0..groups * wide).map(|i| number(3 * i + 1)).collect();
        let weight = Lookup {
            codes: &packed,
            out,
            groups,
            books,
        };
        let mut y = vec![f32::NAN; out];
        let turned = turned(&codebooks, books, count, wide);
        multiply(&weight, &turned, &scales, &x, &mut y).unwrap();
        for row in 0..out {
            // The sums of runs of tables in their order, with its roundings.
            let run = TILE * pairs.div_ceil(TILE).div_ceil(SLABS).max(RUN);
            let mut sum = 0.0f32;
            for start in (0..pairs).step_by(run) {
                let mut part = 0.0f32;
                for pair in start..pairs.min(start + run) {
                    let entry = codes[row * pairs + pair] as usize;
                    let own = &codebooks[(pair % books * count + entry) * wide..][..wide];
                    let x = &x[pair / books * wide..][..wide];
                    part += own.iter().zip(x).fold(0.0, |sum, (c, x)| sum + c * x);
                }
                sum += part;
            }
            assert_eq!(
                y[row],
                sum * scales[row],
                "{out} {groups} {books} {count} {wide}, {row}"
            );
        }
    }
}

#[test]
fn codes_past_the_last_entry_are_refused() {
    assert!(pack(&[0, 3], (2, 1), 3).is_err());
    assert!(pack(&[256], (1, 1), 1000).is_err());
}
