//! How the positions of a batch of images are cut into tasks: some rows of one image, or several whole images.

use std::ops::Range;

/// Tasks that a batch is cut into where it is large enough.
const TASKS: usize = 8;

pub struct Chunks {
    /// Of the batch and of one image.
    images: usize,
    height: usize,
    /// Of one chunk.
    chunk_images: usize,
    chunk_rows: usize,
}

/// Rows of some images, one image where they are not all of its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    pub images: Range<usize>,
    pub rows: Range<usize>,
}

impl Chunks {
    /// Chunks of about `most` positions, or fewer where there would be too few chunks.
    pub fn new(images: usize, height: usize, width: usize, most: usize) -> Chunks {
        let image = (height * width).max(1);
        let most = most.min(images * image / TASKS).max(96);
        let (chunk_images, chunk_rows) = if image >= most {
            let down = height.div_ceil((most / width.max(1)).max(1));
            (1, height.div_ceil(down.max(1)))
        } else {
            (most / image, height)
        };
        Chunks {
            images,
            height,
            chunk_images,
            chunk_rows: chunk_rows.max(1),
        }
    }

    fn down(&self) -> usize {
        self.height.div_ceil(self.chunk_rows)
    }

    pub fn count(&self) -> usize {
        self.images.div_ceil(self.chunk_images) * self.down()
    }

    pub fn get(&self, index: usize) -> Chunk {
        let (image, row) = (
            index / self.down() * self.chunk_images,
            index % self.down() * self.chunk_rows,
        );
        Chunk {
            images: image..(image + self.chunk_images).min(self.images),
            rows: row..(row + self.chunk_rows).min(self.height),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_every_row_once_and_are_whole_images_or_rows_of_one() {
        for (images, height, width, most) in [
            (1, 1, 1, 96),
            (128, 8, 8, 256),
            (3, 50, 40, 300),
            (5, 7, 2000, 96),
        ] {
            let chunks = Chunks::new(images, height, width, most);
            let mut next = 0;
            for index in 0..chunks.count() {
                let Chunk { images, rows } = chunks.get(index);
                assert_eq!(images.start * height + rows.start, next);
                assert!(images.len() == 1 || rows == (0..height));
                next += images.len() * rows.len();
            }
            assert_eq!(next, images * height);
        }
    }
}
