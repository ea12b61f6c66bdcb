use super::fitted::{Fitted, Geometry};
use super::*;
use crate::parallel;

struct Case {
    images: usize,
    size: (usize, usize),
    channels: (usize, usize),
    kernel: (usize, usize),
    fields: [u32; 9],
}

const fn case(
    images: usize,
    size: (usize, usize),
    channels: (usize, usize),
    kernel: (usize, usize),
    fields: [u32; 9],
) -> Case {
    Case {
        images,
        size,
        channels,
        kernel,
        fields,
    }
}

/// Odd channels, strides, borders, dilations and groups; one long enough for several chunks and parts.
const CASES: [Case; 12] = [
    case(2, (5, 7), (3, 5), (3, 3), [1, 1, 1, 1, 1, 1, 1, 1, 1]),
    case(9, (9, 8), (16, 16), (3, 3), [1, 1, 1, 1, 1, 1, 1, 1, 1]),
    case(3, (8, 9), (6, 34), (3, 3), [2, 2, 0, 1, 0, 1, 1, 1, 1]),
    case(1, (7, 7), (4, 6), (5, 3), [3, 2, 2, 1, 0, 3, 1, 2, 2]),
    case(2, (6, 6), (7, 9), (1, 1), [2, 2, 0, 0, 0, 0, 1, 1, 1]),
    case(2, (6, 5), (20, 18), (1, 1), [1, 1, 0, 0, 0, 0, 1, 1, 1]),
    case(2, (1, 19), (5, 7), (1, 4), [1, 2, 0, 0, 5, 1, 1, 2, 1]),
    case(2, (9, 9), (18, 18), (3, 3), [1, 1, 1, 1, 1, 1, 1, 1, 18]),
    case(2, (11, 8), (35, 35), (5, 5), [2, 2, 1, 2, 1, 2, 1, 1, 35]),
    case(1, (4, 4), (2, 3), (2, 2), [1, 1, 3, 0, 0, 4, 1, 1, 1]),
    case(3, (20, 40), (130, 8), (3, 2), [1, 1, 1, 0, 0, 1, 1, 1, 1]),
    case(40, (12, 12), (4, 4), (3, 3), [1, 1, 1, 1, 1, 1, 2, 2, 2]),
];

/// Multiples of a quarter, so that all sums are exact.
fn exact(seed: usize) -> impl Fn(usize) -> f32 {
    move |i| ((i * 7919 + seed * 31) % 17) as f32 * 0.25 - 2.0
}

/// Calls `body(output, input, weight)` with the positions of every product.
fn products(fitted: &Fitted, mut body: impl FnMut(usize, usize, usize)) {
    let Fitted {
        geometry: Geometry {
            rows,
            columns,
            groups,
        },
        images,
        input,
        output,
    } = *fitted;
    let (depth, lanes) = (input.channels / groups, output.channels / groups);
    for image in 0..images {
        for (i, j) in (0..output.height).flat_map(|i| (0..output.width).map(move |j| (i, j))) {
            for (k, l) in (0..rows.kernel).flat_map(|k| (0..columns.kernel).map(move |l| (k, l))) {
                let (y, x) = (
                    i * rows.stride + k * rows.dilation,
                    j * columns.stride + l * columns.dilation,
                );
                let inside = y >= rows.before
                    && y - rows.before < input.height
                    && x >= columns.before
                    && x - columns.before < input.width;
                if !inside {
                    continue;
                }
                let pixel = (image * input.height + y - rows.before) * input.width + x - columns.before;
                let place = (image * output.height + i) * output.width + j;
                for out in 0..output.channels {
                    for c in 0..depth {
                        body(
                            place * output.channels + out,
                            pixel * input.channels + out / lanes * depth + c,
                            ((out * rows.kernel + k) * columns.kernel + l) * depth + c,
                        );
                    }
                }
            }
        }
    }
}

fn check(case: &Case) {
    let Case {
        images,
        size,
        channels,
        kernel,
        fields,
    } = case;
    let x = View::filled(&[*images, size.0, size.1, channels.0], exact(1));
    let weight = View::filled(
        &[channels.1, kernel.0, kernel.1, channels.0 / fields[8] as usize],
        exact(2),
    );
    let bias = View::filled(&[channels.1], exact(3));
    let fitted = Fitted::new(&x.shape, &weight.shape, fields).unwrap();
    let gradient = View::filled(&fitted.output_shape(), exact(4));
    let numbers = |view: &View| view.slice::<f32>().unwrap().to_vec();
    let (xs, ws, gs) = (numbers(&x), numbers(&weight), numbers(&gradient));
    let mut want = vec![0f32; gs.len()];
    let (mut want_x, mut want_w) = (vec![0f32; xs.len()], vec![0f32; ws.len()]);
    products(&fitted, |out, at, w| {
        want[out] += xs[at] * ws[w];
        want_x[at] += gs[out] * ws[w];
        want_w[w] += gs[out] * xs[at];
    });
    let biases = numbers(&bias);
    let ended: Vec<f32> = want
        .iter()
        .enumerate()
        .map(|(i, sum)| (sum + biases[i % channels.1]).max(0.0))
        .collect();
    assert_eq!(
        numbers(&convolution(&x, &weight, None, fields, false).unwrap()),
        want
    );
    assert_eq!(
        numbers(&convolution(&x, &weight, Some(&bias), fields, true).unwrap()),
        ended
    );
    assert_eq!(
        numbers(&input_gradient(&gradient, &weight, *size, fields).unwrap()),
        want_x
    );
    assert_eq!(
        numbers(&super::weight_gradient(&x, &gradient, *kernel, fields).unwrap()),
        want_w
    );
    let double = copy::cast(
        &convolution(
            &copy::cast(&x, DType::F64).unwrap(),
            &copy::cast(&weight, DType::F64).unwrap(),
            None,
            fields,
            false,
        )
        .unwrap(),
        DType::F32,
    )
    .unwrap();
    assert_eq!(numbers(&double), want);
}

#[test]
fn outputs_and_gradients_are_the_sums_of_the_definition() {
    CASES.iter().for_each(check);
}

#[test]
fn every_number_of_threads_gives_the_same_bits() {
    let fields = [1, 1, 1, 1, 1, 1, 1, 1, 1];
    let x = View::filled(&[30, 11, 13, 16], |i| (i as f32 * 0.37).sin());
    let weight = View::filled(&[16, 3, 3, 16], |i| (i as f32 * 0.73).sin());
    let bits = |threads: usize| {
        parallel::set_threads(threads).unwrap();
        let out = convolution(&x, &weight, None, &fields, false).unwrap();
        let parts = [
            input_gradient(&out, &weight, (11, 13), &fields).unwrap(),
            super::weight_gradient(&x, &out, (3, 3), &fields).unwrap(),
            out,
        ];
        parts.map(|part| {
            part.slice::<f32>()
                .unwrap()
                .iter()
                .map(|v| v.to_bits())
                .collect::<Vec<_>>()
        })
    };
    let one = bits(1);
    assert_eq!(one, bits(2));
    assert_eq!(one, bits(3));
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let code = |result: Result<View>| result.err().unwrap().code;
    let fields = [1, 1, 0, 0, 0, 0, 1, 1, 1];
    let x = View::filled(&[1, 4, 4, 2], |_| 0.0);
    let weight = |shape: &[usize]| View::filled(shape, |_| 0.0);
    for (shape, fields) in [
        ([1, 5, 1, 2], fields),
        ([1, 3, 3, 3], fields),
        ([1, 0, 3, 2], fields),
        ([1, 3, 3, 2], [0, 1, 0, 0, 0, 0, 1, 1, 1]),
        ([3, 3, 3, 1], [1, 1, 0, 0, 0, 0, 1, 1, 2]),
    ] {
        assert_eq!(
            code(convolution(&x, &weight(&shape), None, &fields, false)),
            "PARE_E_SHAPE"
        );
    }
    let gradient = View::filled(&[1, 3, 2, 1], |_| 0.0);
    assert_eq!(
        code(super::weight_gradient(&x, &gradient, (3, 3), &fields)),
        "PARE_E_SHAPE"
    );
    assert_eq!(
        code(input_gradient(&gradient, &weight(&[1, 3, 3, 2]), (4, 4), &fields)),
        "PARE_E_SHAPE"
    );
}
