/** How the weights of a folder are dealt to its files. */
import type { ShardLayout } from '../../formats/safetensors/writer.ts'

export interface Sharding {
  /** Bytes of tensors in one file; a larger tensor gets a file of its own. @default 5e9 */
  readonly maxShardBytes?: number
}

/** What a reader of a plan should know of them: an index holds no weights and counts apart. */
export const shardNotes = ({ files, index }: ShardLayout): string[] =>
  index === undefined
    ? []
    : [
        `the weights are in ${files.length} files; the index beside them takes ${Buffer.byteLength(index)} bytes`,
      ]
