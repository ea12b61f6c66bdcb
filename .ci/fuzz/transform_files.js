/** The reader of what a run keeps of a transform: a line of its journal, and a file with the arrays of its edits. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openModel } from '../../dist/models/load_model.js'
import { readJournal } from '../../dist/run/journal.js'
import { editsMetadata, writeEdits } from '../../dist/run/transform_file.js'
import { transformedModel } from '../../dist/run/transform_model.js'
import { damageJson } from './json.js'
import { writtenFiles } from './level_files.js'
import { need, readWeights } from './reading.js'
import { damageSafetensors, rewritten, tensorsOf } from './safetensors.js'

const model = openModel(fileURLToPath(new URL('../../interop/fixtures/llama-tied', import.meta.url)))
const scales = (size) => Float64Array.from({ length: size }, (_, i) => 1 + i / size)
const block = 'model.layers.0'
/** Edits of every kind, on tensors of the model. */
const edits = new Map([
  ['model.embed_tokens.weight', [{ kind: 'rotateColumns', rotation: { size: 32, seed: 1 } }]],
  ['lm_head.weight', [{ kind: 'scaleColumns', by: scales(32) }]],
  [`${block}.input_layernorm.weight`, [{ kind: 'fill', value: 1 }]],
  [`${block}.post_attention_layernorm.weight`, [{ kind: 'scaleRows', by: scales(32) }]],
  [
    `${block}.self_attn.k_proj.weight`,
    [
      { kind: 'scaleColumns', by: scales(32) },
      { kind: 'rotateRows', rotation: { size: 8, seed: 2 } },
    ],
  ],
  [
    `${block}.mlp.down_proj.weight`,
    [{ kind: 'clamp', bounds: new Float32Array(64).fill(0.5), groupSize: 16 }],
  ],
])
const file = 'transform-0000.safetensors'
let stored
const { [file]: original } = writtenFiles((folder) => {
  stored = writeEdits(join(folder, file), edits).edits
})
const journal = fileURLToPath(new URL('../../src/run/version_1/journal.jsonl', import.meta.url))
const [begun] = readFileSync(journal, 'utf8').split('\n')
const encoder = new TextEncoder()
/** The line of the journal, with edits as text. */
const lineOf = (edits, described) =>
  `{"kind":"transform","index":0,"method":"hadamard","edits":${edits},"notes":[],"seconds":1,"file":${JSON.stringify(described)}}`

/** The file with the hash of edits that no longer are those it was written with. */
function withHash(bytes, edits) {
  try {
    return rewritten(tensorsOf(bytes), editsMetadata(JSON.parse(edits)))
  } catch {
    // The header is damaged, or the edits are none.
    return bytes
  }
}

export const transformReader = {
  name: 'transform',
  make(random) {
    const ofEdits = random.once(2)
    const edits = JSON.stringify(stored)
    const told = ofEdits ? Buffer.from(damageJson(encoder.encode(edits), random)).toString() : edits
    const damaged = ofEdits ? original : damageSafetensors(original, random)
    // Whoever changes a file on purpose changes its hashes too.
    const bytes = random.once(8) ? damaged : withHash(damaged, told)
    const sha256 = random.once(16) ? 'f'.repeat(64) : createHash('sha256').update(bytes).digest('hex')
    const line = lineOf(told, { name: file, bytes: bytes.length, sha256 })
    return { 'journal.jsonl': encoder.encode(`${begun}\n${line}\n`), [file]: bytes }
  },
  async read(files, place) {
    const work = place.folder(files)
    const state = readJournal(join(work, 'journal.jsonl'))
    if (state?.transforms.length !== 1) return
    // With all its transforms known, nothing is computed.
    const options = { transforms: [{ method: 'hadamard', own: {}, at: 'steps[0]' }] }
    const edited = await transformedModel(model, { state, work }, { options })
    need(edited.edited.size === state.transforms[0].edits.length, 'tensors that nobody edited')
    readWeights(edited)
  },
}
