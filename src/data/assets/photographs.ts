/**
 * Photographs of scikit-image and scikit-learn, as textures. Drawings, patterns, pages of text and second pictures of one
 * scene are left out.
 */
import { join } from 'node:path'
import { type DecodedImage, readImage } from '../../formats/image_file.ts'

const scikitImage = (name: string) => join('data', 'images-skimage', name)
const scikitLearn = (name: string) => join('data', 'images-sklearn', name)

/** Below the folder of assets. */
export const trainingPhotographs: readonly string[] = [
  ...['astronaut', 'brick', 'cell', 'chelsea', 'clock_motion', 'grass', 'ihc', 'moon', 'motorcycle_left'].map(
    (name) => scikitImage(`${name}.png`),
  ),
  ...['hubble_deep_field.jpg', 'retina.jpg'].map(scikitImage),
  scikitLearn('china.jpg'),
]

export const heldOutPhotographs: readonly string[] = [
  ...['camera', 'coffee', 'coins', 'gravel'].map((name) => scikitImage(`${name}.png`)),
  scikitImage('rocket.jpg'),
  scikitLearn('flower.jpg'),
]

export interface Photograph extends DecodedImage {
  name: string
}

/** In the order of the names. */
export async function readPhotographs(assets: string, names: readonly string[]): Promise<Photograph[]> {
  const photographs: Photograph[] = []
  for (const name of names) photographs.push({ name, ...(await readImage(join(assets, name))) })
  return photographs
}
