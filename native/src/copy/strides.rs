//! Places of the elements of strided views.

/// Extents and strides with neighbouring axes joined where one stride pattern covers both, and ones dropped.
pub struct Collapsed<const N: usize> {
    pub shape: Vec<usize>,
    pub strides: [Vec<usize>; N],
}

pub fn collapse<const N: usize>(shape: &[usize], strides: [&[usize]; N]) -> Collapsed<N> {
    let mut result = Collapsed {
        shape: Vec::new(),
        strides: [const { Vec::new() }; N],
    };
    for axis in 0..shape.len() {
        if shape[axis] == 1 {
            continue;
        }
        let joins = !result.shape.is_empty()
            && (0..N).all(|i| result.strides[i].last() == Some(&(strides[i][axis] * shape[axis])));
        if joins {
            *result.shape.last_mut().expect("not empty") *= shape[axis];
            for i in 0..N {
                *result.strides[i].last_mut().expect("not empty") = strides[i][axis];
            }
        } else {
            result.shape.push(shape[axis]);
            for i in 0..N {
                result.strides[i].push(strides[i][axis]);
            }
        }
    }
    if result.shape.is_empty() {
        result.shape.push(1);
        for i in 0..N {
            result.strides[i].push(0);
        }
    }
    result
}

/// Offset of the row-major `index` over all axes but the last.
#[inline]
pub fn row_offset(mut index: usize, shape: &[usize], strides: &[usize]) -> usize {
    let mut offset = 0;
    for axis in (0..shape.len() - 1).rev() {
        offset += index % shape[axis] * strides[axis];
        index /= shape[axis];
    }
    offset
}
