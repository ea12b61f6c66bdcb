/** Every reader of files that nobody vouches for: how its damaged files are made from a seed, and how one is read whole. */
import { checkpointReaders } from './checkpoints.js'
import { levelReader } from './level_files.js'
import { ownFileReaders } from './own_files.js'
import { packageReaders } from './packages.js'
import { randomOf } from './random.js'
import { tensorFileReaders } from './tensor_files.js'
import { textReaders } from './texts.js'
import { transformReader } from './transform_files.js'

/**
 * `make(random)` gives the files of a case, name to bytes. `read(files, place, random)` reads them with all that is in
 * them; it throws a PareError where they are refused.
 */
export const readers = [
  ...tensorFileReaders,
  ...textReaders,
  ...checkpointReaders,
  ...ownFileReaders,
  levelReader,
  transformReader,
  ...packageReaders,
]

/** The case of a seed. */
export function caseOf(reader, seed) {
  const random = randomOf(reader.name, seed)
  const files = reader.make(random)
  return { files, bytes: Object.values(files).reduce((sum, { length }) => sum + length, 0), random }
}
