/** What is wrong with a new model shows before its data is read, which may take long. */
import { classifierOf } from '../../models/classifiers/classifier_config.ts'
import { LstmLanguageModel } from '../../models/lstm/lstm_model.ts'
import { shapeOf } from './classifier_training.ts'
import { llamaConfig, llamaWeights } from './language_training.ts'
import { lstmConfig } from './lstm_training.ts'
import type { TrainingSettings } from './read_training.ts'
import { countWeights, memoryFor } from './training_memory.ts'

/**
 * Looks at a model as far as it is known without its data.
 *
 * @throws OptionError for shapes that cannot be, ResourceError for a language model that the machine cannot hold
 */
export function checkNewModel(train: TrainingSettings['train']): void {
  const { model, data } = train
  if ('source' in model) return
  if (data.kind === 'text') {
    // A folder's vocabulary is not known yet; with one token the model has no more weights than it will have.
    const vocabulary = typeof data.tokenizer === 'object' ? data.tokenizer.vocabulary : 1
    const fits = memoryFor(train)
    if (model.family === 'llama') fits(llamaWeights(llamaConfig(model, vocabulary, data.length)))
    if (model.family === 'lstm')
      fits(countWeights((weights) => new LstmLanguageModel(lstmConfig(model, vocabulary), weights)))
    return
  }
  if (model.family === 'llama' || model.family === 'lstm') return
  // Images of any size show whether depth and widths can be; how many weights there are depends on the real ones.
  const image = [32, 32, 1] as const
  const config = { shape: shapeOf(model), image, classes: ['a'], normalise: { mean: [0], deviation: [1] } }
  countWeights((weights) => classifierOf(config, weights))
}
