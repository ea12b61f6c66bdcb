/** What a page says of the images of an experiment. */
import type { ImageData } from './image_training.ts'

export const imageDataText: Readonly<Record<ImageData, string>> = {
  'small digits': 'digits of scikit-learn, 8 × 8 and grey',
  'digits on photographs':
    'digits of MNIST in white on pieces of photographs, 28 × 28 and grey: 8,000 for training, 2,000 held out, and no digit or photograph on both sides',
  'moved digits on textures':
    'moved and coloured digits of MNIST on pieces of photographs, 32 × 32: 8,000 for training, 2,000 held out, and no digit or photograph on both sides',
}
