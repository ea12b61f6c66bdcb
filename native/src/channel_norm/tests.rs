use super::*;
use crate::parallel;

fn numbers(x: &View) -> &[f32] {
    x.slice::<f32>().unwrap()
}

#[test]
fn channels_of_a_batch_get_mean_zero_and_variance_one_also_far_from_zero() {
    // 300 rows are several bands; a one-pass variance of numbers near 10000 would be noise in f32.
    for channels in [3, 16, 35] {
        let x = View::filled(&[1, 300, channels], |i| 10_000.0 + ((i / channels) % 4) as f32);
        let [out, mean, variance] = channel_norm(&x, None, None, Ending::default(), channels, 0.0).unwrap();
        assert!(numbers(&mean).iter().all(|&m| m == 10_001.5));
        // Means of bands, which differ by 0.02 here, are rounded to 2^-11: twice the product of both.
        assert!(numbers(&variance).iter().all(|&v| (v - 1.25).abs() < 2e-5));
        for (i, &y) in numbers(&out).iter().enumerate() {
            let want = (((i / channels) % 4) as f32 - 1.5) / 1.25f32.sqrt();
            assert!((y - want).abs() < 1e-5, "{y} {want}");
        }
    }
}

#[test]
fn every_number_of_threads_gives_the_same_bits() {
    let x = View::filled(&[3, 1500, 18], |i| (i as f32 * 0.37).sin());
    let g = View::filled(&[3, 1500, 18], |i| (i as f32 * 0.73).sin());
    let bits = |threads: usize| {
        parallel::set_threads(threads).unwrap();
        let ending = Ending {
            residual: Some(&g),
            relu: true,
        };
        let [out, mean, variance] = channel_norm(&x, None, None, ending, 6, 1e-5).unwrap();
        let found = Found {
            mean: &mean,
            variance: &variance,
            floored: Some(&out),
        };
        let gradients = channel_norm_gradient(&x, &g, None, found, true, 6, 1e-5).unwrap();
        let all = [out, mean, variance].into_iter().chain(gradients);
        all.flat_map(|x| numbers(&x).iter().map(|v| v.to_bits()).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let one = bits(1);
    assert_eq!(one, bits(2));
    assert_eq!(one, bits(3));
}

#[test]
fn groups_that_do_not_divide_the_channels_are_refused() {
    let x = View::filled(&[1, 2, 6], |_| 0.0);
    assert_eq!(
        channel_norm(&x, None, None, Ending::default(), 4, 0.0)
            .err()
            .unwrap()
            .code,
        "PARE_E_SHAPE"
    );
    assert_eq!(
        channel_norm(
            &x,
            Some(&View::filled(&[5], |_| 0.0)),
            None,
            Ending::default(),
            3,
            0.0
        )
        .err()
        .unwrap()
        .code,
        "PARE_E_SHAPE"
    );
}
