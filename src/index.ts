/**
 * Pare as a library.
 *
 *   plan        what a compression will store, from headers alone
 *   compress    a model goes in, a smaller one comes out, with a report
 *   fromRecipe  the options that a recipe, or a file with one, stands for
 *   reportPage  a report as one HTML file, as compress writes it
 *   evaluate    perplexity, and KL and agreement against a source
 *   inspect     what a file holds
 *   loadModel   fetches and opens a model; openModel opens one that is on this disk
 *   embedTexts  vectors of texts, from a sentence encoder
 *   Trainer     steps of a training over any task, with pruningMethods and optimisers by name
 *
 * Jobs run in the thread that calls them; put them in a worker where the thread must stay free. Every error that a
 * user can cause is a `PareError`.
 */
export type { ChatMessage } from './formats/tokenizer/chat_template.ts'
export type { Tokenizer } from './formats/tokenizer/tokenizer.ts'
export type { LanguageMetrics } from './metrics/language.ts'
export type { Bert } from './models/bert/bert.ts'
export type { BertConfig } from './models/bert/config.ts'
export {
  type EmbedOptions,
  embedTexts,
  type SentenceEncoder,
  sentenceEncoder,
} from './models/bert/sentence_encoder.ts'
export type { LlamaConfig } from './models/llama/config.ts'
export type { Llama } from './models/llama/llama.ts'
export { loadLanguageModel, loadModel, openLanguageModel, openModel } from './models/load_model.ts'
export type { ModelWeights, WeightInfo } from './models/model_weights.ts'
export {
  languageModel,
  type OpenLanguageModel,
  type OpenModel,
  type OpenTextEncoder,
  textEncoder,
} from './models/open_model.ts'
export {
  type ResolvedSource,
  type ResolveOptions,
  resolveSource,
  type SourceProgress,
} from './models/source/source.ts'
export { type Match, Parameters } from './nn/parameters.ts'
export { type OptimiserName, optimisers } from './optim/optimisers.ts'
export type { TrainingMethod } from './optim/training_method.ts'
export type { Loader, TrainingBatch, TrainingTask } from './optim/training_task.ts'
export { type InstantOptions, instantSparsify } from './prune/instant.ts'
export { measureSparsity, type SparsitySummary } from './prune/sparsity.ts'
export { type PruningMethodName, pruningMethods } from './prune/training_methods.ts'
export { type QuantizerName, quantizers } from './quantize/methods.ts'
export { compress } from './run/compress.ts'
export type { CompressOptions, TargetName } from './run/compress_options.ts'
export { type EvaluateOptions, type Evaluation, evaluate, type RunHooks } from './run/evaluate.ts'
export { type Inspection, inspect } from './run/inspect.ts'
export type { Override } from './run/override.ts'
export { type CompressionPlan, type PlanOptions, plan } from './run/plan.ts'
export type { OnProgress, Phase, ProgressEvent } from './run/progress.ts'
export type { Recipe, RecipeStep } from './run/recipe.ts'
export { fromRecipe } from './run/recipe_options.ts'
export type { Baseline, CompressionReport, LayerReport, MixReport } from './run/report.ts'
export { reportPage } from './run/report_page/report_page.ts'
export type { RuleReport, StepReport } from './run/tensor_rules.ts'
export { version } from './run/version.ts'
export type { WeightStep } from './run/weight_step.ts'
export * from './tensor/errors.ts'
export {
  arange,
  type DType,
  fromBytes,
  full,
  instructionSet,
  ones,
  type RandomStream,
  randomStream,
  type Shape,
  scope,
  setThreads,
  Tensor,
  tensor,
  threads,
  zeros,
} from './tensor/index.ts'
export { type StepReport as TrainingStepReport, Trainer, type TrainerOptions } from './train/trainer.ts'
