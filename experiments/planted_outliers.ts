/**
 * A language model of the same function with outlier channels, as large models have them and small ones do not.
 *
 *   g'_c = 16 g_c,  W'_rc = W_rc / 16      for the norm weight g before the linear weights W that read its output
 *
 * Powers of two change no digit, so that the outputs are the same bit for bit; the inputs of W' have the outliers.
 */
import { copyFileSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { openSafetensors } from '#src/formats/safetensors/safetensors.ts'
import { createSafetensors } from '#src/formats/safetensors/writer.ts'
import { OptionError } from '#src/tensor/errors.ts'

/** What the name of such a model ends on. */
export const withOutliers = ' with outliers'

const factor = 16
/** One channel of so many. */
const distance = 64

/** What reads the output of each norm. */
const readers: Readonly<Record<string, RegExp>> = {
  input_layernorm: /\.self_attn\.[qkv]_proj\.weight$/,
  post_attention_layernorm: /\.mlp\.(gate|up)_proj\.weight$/,
}

/**
 * Writes the model of `folder` into `output` with every 64th channel of the norms planted.
 *
 * @throws OptionError where its numbers are not F32
 */
export function plantOutliers(folder: string, output: string): void {
  mkdirSync(output, { recursive: true })
  for (const name of readdirSync(folder))
    if (name.endsWith('.json')) copyFileSync(join(folder, name), join(output, name))
  const archive = openSafetensors(join(folder, 'model.safetensors'))
  try {
    const entries = [...archive.tensors.values()]
    const writer = createSafetensors(
      join(output, 'model.safetensors'),
      entries.map(({ name, type, shape }) => ({ name, type, shape })),
    )
    for (const { name, type, shape } of entries) {
      const bytes = archive.read(name)
      const scale = scaleOf(name)
      if (scale !== 1) {
        if (type !== 'F32')
          throw new OptionError(`${name}: F32 is needed, got ${type}; take a model stored in f32`)
        scaleColumns(new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4), shape.at(-1)!, scale)
      }
      writer.append(name, bytes)
    }
    writer.finish()
  } finally {
    archive.close()
  }
}

function scaleOf(name: string): number {
  for (const [norm, reader] of Object.entries(readers)) {
    if (name.endsWith(`.${norm}.weight`)) return factor
    if (reader.test(name)) return 1 / factor
  }
  return 1
}

function scaleColumns(values: Float32Array, columns: number, scale: number): void {
  for (let i = 0; i < values.length; i += distance) if ((i % columns) % distance === 0) values[i]! *= scale
}
