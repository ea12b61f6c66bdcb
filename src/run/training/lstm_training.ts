/** LSTM language models in training. */
import { freshWeights } from '../../models/classifiers/fresh_weights.ts'
import { type LstmConfig, lstmToJson } from '../../models/lstm/config.ts'
import type { LoadedLstm } from '../../models/lstm/lstm_folder.ts'
import { LstmLanguageModel } from '../../models/lstm/lstm_model.ts'
import { Parameters } from '../../nn/parameters.ts'
import { continuingOrder } from '../../optim/continuing_order.ts'
import { OptionError } from '../../tensor/errors.ts'
import { carriedLanguageTask } from '../../train/carried_state.ts'
import { languageTask } from '../../train/language_task.ts'
import { evaluateLanguage, type LanguageTrainingOptions, logitsOf } from './language_evaluation.ts'
import { languageFiles } from './language_files.ts'
import type { LstmRecipe } from './model_fields.ts'
import type { TrainedModel } from './trained_model.ts'
import { countWeights } from './training_memory.ts'

export function lstmConfig(
  { layers, hidden, embedding = hidden, dropout = 0, tied = embedding === hidden }: LstmRecipe,
  vocabulary: number,
): LstmConfig {
  return { vocabulary, embedding, hidden, layers, dropout, tied }
}

/** A model with new weights. @throws OptionError for shapes that cannot be */
export function newLstm(recipe: LstmRecipe, options: LanguageTrainingOptions): TrainedModel {
  const config = lstmConfig(recipe, options.data.tokenizer.vocabularySize)
  options.fits(
    countWeights((weights) => new LstmLanguageModel(config, weights)),
    logitsOf(options),
  )
  const parameters = new Parameters()
  const model = new LstmLanguageModel(config, freshWeights(parameters, options))
  return trained({ model, parameters }, options, recipe.carried ?? true)
}

/** A model whose weights are there. @throws OptionError for a tokenizer with more tokens than it has */
export function continuedLstm(loaded: LoadedLstm, options: LanguageTrainingOptions): TrainedModel {
  const [most, found] = [loaded.model.config.vocabulary, options.data.tokenizer.vocabularySize]
  if (found > most)
    throw new OptionError(
      `train.data.tokenizer: at most ${most} tokens fit the model, got ${found}; leave it out to take the model's own`,
      { code: 'PARE_E_FIELD', facts: { field: 'train.data.tokenizer' } },
    )
  return trained(loaded, options, true)
}

function trained(
  { model, parameters }: LoadedLstm,
  options: LanguageTrainingOptions,
  carried: boolean,
): TrainedModel {
  const task = carried
    ? carriedLanguageTask(model, parameters, options.batch)
    : languageTask(model, parameters)
  return {
    family: 'lstm',
    task,
    classes: model.config.vocabulary,
    ...(carried && { order: continuingOrder }),
    evaluate: (examples, signal) => evaluateLanguage(task, options, examples, signal),
    files: () => languageFiles(lstmToJson(model.config), options.data.tokenizer),
  }
}
