/** Readers of whole models: every layout of a folder, GGUF, and what a Pare folder describes. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bytesSource } from '../../dist/formats/file.js'
import { strictJson } from '../../dist/formats/json.js'
import { readPareJson } from '../../dist/formats/pare_folder.js'
import { openSources } from '../../dist/formats/safetensors/safetensors.js'
import { openModel } from '../../dist/models/load_model.js'
import { pareLayers } from '../../dist/models/stored/pare_layers.js'
import { storedWeights } from '../../dist/models/stored/stored_weights.js'
import { inspect } from '../../dist/run/inspect.js'
import { damageGguf } from './gguf.js'
import { damageJson } from './json.js'
import { readWeights } from './reading.js'
import { damageSafetensors, rewritten, tensorsOf } from './safetensors.js'
import { fixture, fixtureFolder } from './tensor_files.js'

const layouts = {
  huggingface: ['llama-tied', 'llama-rope-llama3', 'qwen2', 'bert-sentence'],
  gptq: ['gptq-dynamic', 'llama-gptq-3', 'llama-gptq-4'],
  awq: ['awq'],
  'compressed-tensors': readdirSync(fileURLToPath(new URL('../../interop/fixtures', import.meta.url))).filter(
    (name) => name.startsWith('ct-'),
  ),
  aqlm: ['aqlm-2x8', 'aqlm-2x8-inputs-first', 'aqlm-1x10'],
  spqr: ['spqr-csr', 'spqr-ptcsr'],
  mlx: ['mlx-2', 'mlx-3', 'mlx-4-bf16', 'mlx-4-f16', 'mlx-5', 'mlx-6', 'mlx-8', 'mlx-overrides'],
}

function readModel(path) {
  const model = openModel(path)
  try {
    readWeights(model)
  } finally {
    model.close()
  }
}

/** @param files of each folder that is damaged */
const folderReader = (name, folders) => ({
  name,
  make(random) {
    const files = random.pick(folders)
    const settings = Object.keys(files).filter((file) => file === 'config.json' || file === 'pare.json')
    const file = random.once(2) ? 'model.safetensors' : random.pick(settings)
    const damage = file.endsWith('.json') ? damageJson : damageSafetensors
    return { ...files, [file]: damage(files[file], random) }
  },
  read(files, place, random) {
    const path = place.folder(files)
    if (random.once(8)) inspect(path)
    readModel(path)
  },
})

const version = (number) => {
  const folder = fileURLToPath(new URL(`../../src/run/version_${number}/folder`, import.meta.url))
  return Object.fromEntries(
    readdirSync(folder).map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))]),
  )
}

const ggufs = ['llama-f32', 'llama-rope-linear-f16', 'qwen2-f16'].map((name) =>
  fixture(`fixtures/${name}.gguf`),
)

export const checkpointReaders = [
  ...Object.entries(layouts).map(([name, folders]) =>
    folderReader(
      name,
      folders.map((folder) => fixtureFolder(`fixtures/${folder}`)),
    ),
  ),
  {
    name: 'gguf-model',
    make: (random) => ({ 'm.gguf': damageGguf(random.pick(ggufs), random) }),
    read(files, place, random) {
      const path = join(place.folder(files), 'm.gguf')
      if (random.once(8)) inspect(path)
      readModel(path)
    },
  },
  {
    name: 'pare-folder',
    make(random) {
      const files = random.pick(pareFolders)
      const file = random.once(2) ? 'model.safetensors' : 'pare.json'
      return {
        ...files,
        [file]: (file === 'pare.json' ? damageJson : damageSafetensors)(files[file], random),
      }
    },
    read(files) {
      const weights = pareWeights(files)
      try {
        readWeights({ weights })
      } finally {
        weights.close()
      }
    },
  },
]

/** The tensors of a Pare folder without the model that they are of. */
function pareWeights(files) {
  const archive = openSources([bytesSource('model.safetensors', files['model.safetensors'])])
  try {
    const json = strictJson('pare.json', Buffer.from(files['pare.json']).toString())
    return storedWeights(archive, files['model.safetensors'].length, pareLayers(archive, readPareJson(json)))
  } catch (error) {
    archive.close()
    throw error
  }
}

/** The folders that versions 1, 2 and 4 wrote; of the second without its largest weight, which is nearly all of it. */
const pareFolders = [version(1), withoutLargest(version(2)), version(4)]

function withoutLargest(files) {
  const { weights, ...rest } = JSON.parse(Buffer.from(files['pare.json']).toString())
  const size = (name, tensors) =>
    tensors.reduce((sum, tensor) => sum + (tensor.name.startsWith(`${name}.`) ? tensor.bytes.length : 0), 0)
  const tensors = tensorsOf(files['model.safetensors'])
  const kept = Object.keys(weights).filter((name) => size(name, tensors) < 20_000)
  const small = tensors.filter(({ name }) => kept.some((weight) => name.startsWith(`${weight}.`)))
  return {
    'pare.json': Buffer.from(
      JSON.stringify({ ...rest, weights: Object.fromEntries(kept.map((name) => [name, weights[name]])) }),
    ),
    'model.safetensors': rewritten(small),
  }
}
