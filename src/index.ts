/**
 * Pare as a library.
 *
 *   plan        what a compression will store, from headers alone
 *   compress    a model goes in, a smaller one comes out, with a report
 *   convert     a model in another format, with what changed of every weight
 *   fromRecipe  the options that a recipe, or a file with one, stands for
 *   reportPage  a report as one HTML file, as compress writes it
 *   train       a small language model or a classifier from a recipe, with checkpoints
 *   Trainer     steps of a training over any task, with pruningMethods and optimisers by name; fit without phases
 *   evaluate    perplexity, and KL and agreement against a source
 *   verify      opens a result again and compares it with its source; verifyResult with what is open already
 *   inspect     what a file holds and what Pare can do with it; inspectSource also of a hub, by headers; summarizeValues reads
 *               the values
 *   measureImportance  how much inputs are used, as the file of llama-imatrix; readImatrix reads one
 *   rewriteMatMulNBits  an ONNX file again, with its products of 4 or 8 bits; openOnnx lists what a file holds
 *   loadModel   fetches and opens a model; openModel opens one that is on this disk
 *   createTextGenerator  continues texts, several at once, token by token
 *   serve       a model behind OpenAI's endpoints, in a thread of its own
 *   embedTexts  vectors of texts, from a sentence encoder
 *   exactObs, obq  one layer pruned or rounded, weight by weight; obsLevels, obqLevels many versions of it; stitch picks one each
 *   roundedInputs  a weight that rounds what it multiplies, as programs with whole numbers do
 *   layerGrams  the statistics of the inputs of every layer of an image network
 *   classifyImage  the likeliest classes of an image, with what openEfficientNetLite0 opened
 *
 * Jobs run in the thread that calls them; put them in a worker where the thread must stay free. Every error that a
 * user can cause is a `PareError`.
 */
export { compressGroups, efficientNetLayers, type LayerGrams, layerGrams } from './calibrate/layer_grams.ts'
export { type LevelReader, type LevelWriter, openLevels, writeLevels } from './calibrate/level_database.ts'
export { decodeLevel, type Level, type LevelsMethod } from './calibrate/levels.ts'
export { type LabelledTexts, labelledTexts } from './data/text_rows.ts'
export { type Imatrix, readImatrix } from './formats/gguf/imatrix.ts'
export { openOnnx } from './formats/onnx/onnx.ts'
export { rewriteMatMulNBits } from './formats/onnx/rewrite_matmul_nbits.ts'
export type { ChatMessage } from './formats/tokenizer/chat_template.ts'
export type { Tokenizer } from './formats/tokenizer/tokenizer.ts'
export type {
  GenerationEvent,
  GenerationRequest,
  GeneratorLoad,
  SamplingOptions,
  TextGenerator,
  TokenChance,
  TokenChances,
} from './generate/generation.ts'
export { createTextGenerator, type TextGeneratorOptions } from './generate/text_generator.ts'
export type { LanguageMetrics } from './metrics/language.ts'
export type { Bert } from './models/bert/bert.ts'
export type { BertConfig } from './models/bert/config.ts'
export {
  type EmbedOptions,
  embedTexts,
  type SentenceEncoder,
  sentenceEncoder,
} from './models/bert/sentence_encoder.ts'
export type { ClassifierConfig, ClassifierShape } from './models/classifiers/classifier_config.ts'
export {
  freshClassifier,
  type LoadedClassifier,
  loadClassifier,
} from './models/classifiers/load_classifier.ts'
export type { Classifier } from './models/classifiers/network.ts'
export { classifyImage, type ImageClass } from './models/efficientnet/classify_image.ts'
export type { EfficientNetConfig } from './models/efficientnet/config.ts'
export {
  type EfficientNet,
  openEfficientNetLite0,
  type ResidentEfficientNet,
} from './models/efficientnet/efficientnet.ts'
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
export {
  BatchNorm,
  type BatchNormMode,
  type BatchNormOptions,
  type BatchNormWeights,
} from './nn/batch_norm.ts'
export { estimateStatistics } from './nn/batch_norm_estimation.ts'
export { foldConvolution, identityNorm } from './nn/batch_norm_folding.ts'
export { Convolution, type ConvolutionGeometry } from './nn/convolution.ts'
export { affineGrid } from './nn/grid.ts'
export {
  ChannelMoments,
  type ChannelStatistics,
  correctedNorm,
  outputCorrection,
} from './nn/output_correction.ts'
export { type Match, Parameters } from './nn/parameters.ts'
export { inputRounding, type RoundedInputOptions, roundedInputs } from './nn/rounded_inputs.ts'
export { denseSource, type SourceSize, type WeightSource } from './nn/weight_source.ts'
export {
  type Average,
  type AverageFor,
  exponentialAverage,
  meanAverage,
  warmedDecay,
} from './optim/averages.ts'
export { type AveragingMethod, averaging } from './optim/averaging.ts'
export type { Batch, Examples } from './optim/examples.ts'
export { type FitOptions, type FitResult, fit } from './optim/fit.ts'
export { clipFactor, clipValues, type GradientNorm, gradientNorm } from './optim/gradients.ts'
export { createLoader, type EpochOrder, type LoaderOptions, type LoaderState } from './optim/loader.ts'
export type { Optimiser, OptimiserFor } from './optim/optimiser.ts'
export { type OptimiserName, optimisers } from './optim/optimisers.ts'
export * as schedules from './optim/schedules.ts'
export type { StepContext, TrainingEvent, TrainingMethod } from './optim/training_method.ts'
export type {
  ForwardPass,
  Loader,
  Quality,
  SourceLayer,
  TrainingBatch,
  TrainingTask,
} from './optim/training_task.ts'
export { type ExactObsOptions, exactObs } from './prune/exact_obs.ts'
export { type InstantOptions, instantSparsify } from './prune/instant.ts'
export type { PruningMethod } from './prune/masked_training.ts'
export { type ObsLevelsOptions, obsLevels } from './prune/obs_levels.ts'
export { columnBlocks } from './prune/obs_pattern.ts'
export { measureSparsity, type SparsitySummary } from './prune/sparsity.ts'
export { type PruningMethodName, pruningMethods } from './prune/training_methods.ts'
export { type QuantizerName, quantizers } from './quantize/methods.ts'
export { type ObqOptions, obq } from './quantize/obq.ts'
export { type ObqLevelsOptions, obqLevels } from './quantize/obq_levels.ts'
export { compress } from './run/compress.ts'
export type { CompressOptions, FormatName, TargetName } from './run/compress_options.ts'
export type { Carried, ConversionReport, ConvertedWeight } from './run/convert/conversion_report.ts'
export { convert } from './run/convert/convert.ts'
export type { ConvertFormat } from './run/convert/convert_formats.ts'
export type { ConvertOptions } from './run/convert/convert_options.ts'
export { type EvaluateOptions, type Evaluation, evaluate, type RunHooks } from './run/evaluate.ts'
export { type EncoderEvaluation, evaluateEncoder } from './run/evaluate_encoder.ts'
export { type Inspection, inspect, inspectSource } from './run/inspect.ts'
export {
  type ImportanceOptions,
  type MeasuredImportance,
  measureImportance,
} from './run/measure_importance.ts'
export type { Override } from './run/override.ts'
export { type CompressionPlan, type PlanOptions, plan } from './run/plan.ts'
export type { OnProgress, Phase, ProgressEvent } from './run/progress.ts'
export type { Recipe, RecipeStep } from './run/recipe.ts'
export { fromRecipe } from './run/recipe_options.ts'
export type { Baseline, CompressionReport, LayerReport, MixReport } from './run/report.ts'
export { reportPage } from './run/report_page/report_page.ts'
export type { ModelSpeed, SpeedReport, WeightForm } from './run/speed_report.ts'
export type { Support, SupportedStep } from './run/support.ts'
export type { RuleReport, StepReport } from './run/tensor_rules.ts'
export type { DataRecipe } from './run/training/data_fields.ts'
export type { DistillationRecipe } from './run/training/distillation_fields.ts'
export type { MethodRecipe } from './run/training/method_fields.ts'
export type { ModelRecipe } from './run/training/model_fields.ts'
export type { OptimiserRecipe, ScheduleRecipe } from './run/training/optimiser_fields.ts'
export { type TrainingHooks, train } from './run/training/train.ts'
export type { TrainingFields, TrainingRecipe } from './run/training/training_recipe.ts'
export type { TrainingReport } from './run/training/training_report.ts'
export type { TrainingProgress } from './run/training_run.ts'
export {
  type Histogram,
  summarizeValues,
  type TensorValues,
  type ValueOptions,
  type ValueSummary,
} from './run/value_summary.ts'
export { digestOf, type ValueDigest } from './run/verify/value_digest.ts'
export type { Check, CheckName, Verification, VerificationRecord } from './run/verify/verification.ts'
export { type VerifyOptions, verify } from './run/verify/verify.ts'
export { type ResultToVerify, verifyResult } from './run/verify/verify_result.ts'
export { version } from './run/version.ts'
export type { WeightStep } from './run/weight_step.ts'
export { type Profile, type Stitched, type StitchOptions, stitch } from './search/stitch.ts'
export {
  type RunningServer,
  type ServedFacts,
  type ServeHooks,
  type ServeOptions,
  serve,
} from './server/serve.ts'
export * from './tensor/errors.ts'
export {
  arange,
  attention,
  averagePool2d,
  batchNorm,
  type ComputeType,
  type CustomGradient,
  checkpoint,
  concat,
  conv2d,
  crossEntropy,
  customGradient,
  type DType,
  dispose,
  dropout,
  embedding,
  fromBytes,
  full,
  groupNorm,
  instructionSet,
  layerNorm,
  maxPool2d,
  ones,
  type RandomStream,
  randomStream,
  rmsNorm,
  type Shape,
  State,
  scope,
  setThreads,
  stack,
  stopGradient,
  swiglu,
  Tensor,
  tensor,
  threads,
  unrecorded,
  type ValueAndGradients,
  valueAndGrad,
  zeros,
} from './tensor/index.ts'
export { classifierTask } from './train/classifier_task.ts'
export { type DistillationOptions, distilled, type Teacher } from './train/distillation.ts'
export { type LabelledBatch, type LogitsTask, labelledTask } from './train/labelled_task.ts'
export {
  type StepReport as TrainingStepReport,
  Trainer,
  type TrainerOptions,
  type TrainerPosition,
} from './train/trainer.ts'
