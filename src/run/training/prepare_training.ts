/** Data and model of a training, ready for the first step. */
import { join } from 'node:path'
import { loadTokenizer, readJsonFile } from '../../formats/tokenizer/tokenizer.ts'
import { isClassifierConfig } from '../../models/classifiers/classifier_config.ts'
import { loadClassifier } from '../../models/classifiers/load_classifier.ts'
import { isFolder, openLanguageModel } from '../../models/load_model.ts'
import { isLstmFolder, loadLstm } from '../../models/lstm/lstm_folder.ts'
import type { Parameters } from '../../nn/parameters.ts'
import type { Batch, Examples } from '../../optim/examples.ts'
import { OptionError } from '../../tensor/errors.ts'
import { hashOfFiles, modelFiles } from '../fingerprint.ts'
import { continuedClassifier, newClassifier } from './classifier_training.ts'
import { readImageData } from './image_data.ts'
import { continuedLlama, newLlama } from './language_training.ts'
import { continuedLstm, newLstm } from './lstm_training.ts'
import { checkNewModel } from './new_model.ts'
import type { TrainingSettings } from './read_training.ts'
import { type OpenTeacher, openTeacher } from './teacher.ts'
import { readTextData } from './text_data.ts'
import type { TrainedModel } from './trained_model.ts'
import { memoryFor } from './training_memory.ts'

export interface TrainingData {
  readonly train: Examples<Batch>
  readonly heldOut: Examples<Batch>
  readonly unit: 'tokens' | 'images'
  /** Units of an example. */
  readonly unitsEach: number
}

export interface Prepared {
  readonly model: TrainedModel
  readonly data: TrainingData
  /** Steps of the optimiser in all. */
  readonly steps: number
  /** SHA-256 of the model that is gone on with. */
  readonly source: string | undefined
  readonly teacher: OpenTeacher | undefined
}

/** @throws OptionError where the data is too little for a batch; what `readTextData` and `readImageData` throw */
export async function prepareTraining(
  settings: TrainingSettings,
  signal: AbortSignal | undefined,
): Promise<Prepared> {
  const { model: asked } = settings.train
  checkNewModel(settings.train)
  const source = 'source' in asked ? hashOfFiles(modelFiles(asked.source)) : undefined
  const { data, make, loaded, close } = await (settings.train.data.kind === 'text'
    ? textTraining(settings, signal)
    : imageTraining(settings, signal))
  const kind = data.unit === 'tokens' ? 'text' : 'images'
  let model: TrainedModel | undefined
  try {
    // Before the model, which may be large.
    const steps = stepsOf(settings, data)
    model = make()
    const { distill } = settings.train
    const teacher = distill && openTeacher(distill.teacher, kind, model.classes)
    return { model, data, steps, source, teacher }
  } catch (error) {
    const parameters = model?.task.parameters ?? loaded
    parameters?.dispose()
    throw error
  } finally {
    close()
  }
}

interface Parts {
  data: TrainingData
  make: () => TrainedModel
  /** Weights that were read already, until `make` gives them to the model. */
  loaded: Parameters | undefined
  /** Gives back the files that `make` reads. */
  close: () => void
}

async function textTraining(
  { seed, train }: TrainingSettings,
  signal: AbortSignal | undefined,
): Promise<Parts> {
  const { model, data: recipe, dtype, batch } = train
  if (recipe.kind !== 'text') throw new Error('text is asked for')
  const lstm = 'source' in model && isLstmFolder(model.source) ? loadLstm(model.source, { dtype }) : undefined
  const open = 'source' in model && !lstm ? openLanguageModel(model.source) : undefined
  const close = () => open?.close()
  try {
    const data = await readTextData(recipe, {
      known: lstm && 'source' in model ? loadTokenizer(model.source) : open?.tokenizer(),
      signal,
    })
    const options = { data, length: recipe.length, seed, dtype, batch, fits: memoryFor(train) }
    return {
      data: { train: data.train, heldOut: data.heldOut, unit: 'tokens', unitsEach: recipe.length },
      make() {
        if (lstm) return continuedLstm(lstm, options)
        if (open) return continuedLlama(open, options)
        if ('family' in model && model.family === 'llama') return newLlama(model, options)
        if ('family' in model && model.family === 'lstm') return newLstm(model, options)
        throw new Error('a family that learns from text is asked for')
      },
      loaded: lstm?.parameters,
      close,
    }
  } catch (error) {
    close()
    lstm?.parameters.dispose()
    throw error
  }
}

async function imageTraining(
  { seed, train }: TrainingSettings,
  signal: AbortSignal | undefined,
): Promise<Parts> {
  const { model, data: recipe, dtype, batch } = train
  if (recipe.kind === 'text') throw new Error('images are asked for')
  const loaded = 'source' in model ? loadClassifier(classifierFolder(model.source), { dtype }) : undefined
  try {
    const data = await readImageData(recipe, { normalise: loaded?.config.normalise, signal })
    const options = { data, seed, dtype, batch, fits: memoryFor(train) }
    return {
      data: { train: data.train, heldOut: data.heldOut, unit: 'images', unitsEach: 1 },
      make() {
        if (loaded) return continuedClassifier(loaded, options)
        if ('family' in model && model.family !== 'llama' && model.family !== 'lstm')
          return newClassifier(model, options)
        throw new Error('a family that learns from images is asked for')
      },
      loaded: loaded?.parameters,
      close() {},
    }
  } catch (error) {
    loaded?.parameters.dispose()
    throw error
  }
}

function classifierFolder(source: string): string {
  const json = isFolder(source) ? readJsonFile(join(source, 'config.json')) : undefined
  if (json && isClassifierConfig(json)) return source
  throw new OptionError(
    'train.model.source: images need the folder of a classifier; name one, or give text',
    {
      code: 'PARE_E_FIELD',
      facts: { field: 'train.model.source' },
    },
  )
}

/** Epochs are turned into steps: what is left of the last batch is left out. */
function stepsOf({ train }: TrainingSettings, { train: examples }: TrainingData): number {
  const { batch, accumulate, steps, epochs } = train
  if (examples.count < batch)
    throw new OptionError(
      `${examples.name}: a batch needs ${batch} examples, there are ${examples.count}; choose a smaller batch, or give more data`,
      { code: 'PARE_E_EMPTY_DATA', facts: { needed: batch, found: examples.count } },
    )
  const batches = Math.floor(examples.count / batch)
  if (steps !== undefined) return steps
  const whole = Math.floor((epochs! * batches) / accumulate)
  if (whole >= 1) return whole
  throw new OptionError(
    `train.accumulate: at most the ${epochs! * batches} batches of all epochs are needed, got ${accumulate}; accumulate less, or ask for more epochs`,
    { code: 'PARE_E_FIELD', facts: { field: 'train.accumulate', batches: epochs! * batches } },
  )
}
