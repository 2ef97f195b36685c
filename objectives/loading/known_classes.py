"""Names that may stand in a model's configuration: built-in parts of Keras that run no code of the file's author.

Left out on purpose: ``Lambda`` and ``TFSMLayer`` (they carry code), lookups and ``TextVectorization`` (they open files
that the configuration names, keras pull request 21751, and run in no ``.tflite``), what Keras has quantized, wrappers
of Jax and Torch modules, ``TensorFlowOpLayer`` (a raw graph), and operations of Keras 3 that take functions.
"""


def names_in(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


MODELS = frozenset({"Functional", "Model", "Sequential"})

LAYERS = names_in(
    """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average
    AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization BatchNormalizationV1
    BatchNormalizationV2 Bidirectional CategoryEncoding CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D
    Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D Cropping3D
    CutMix Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding
    Equalization Flatten GRU GRUCell GRUCellV2 GRUV2 GaussianDropout GaussianNoise GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    GroupNormalization GroupQueryAttention GroupedQueryAttention Identity InputLayer LSTM LSTMCell LSTMCellV2
    LSTMV2 LayerNormalization LeakyReLU LocallyConnected1D LocallyConnected2D Masking MaxNumBoundingBoxes
    MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MixUp MultiHeadAttention Multiply Normalization PReLU
    Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter
    RandomContrast RandomCrop RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale
    RandomHeight RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation
    RandomSharpness RandomShear RandomTranslation RandomWidth RandomZoom ReLU RepeatVector Rescaling Reshape
    Resizing ReversibleEmbedding SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell Softmax Solarization
    SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells Subtract
    SyncBatchNormalization ThresholdedReLU TimeDistributed UnitNormalization UpSampling1D UpSampling2D
    UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """
)

#: Operations of Keras 3 that stand in a model like layers (``x + y``).
OPERATIONS = names_in(
    """
    Abs Absolute Add Any Average AveragePool Cast Celu Clip Concatenate Cumsum Divide Einsum Elu Equal Exp
    ExpandDims Flip Gelu GetItem Greater HardSigmoid HardSilu LeakyRelu Less Log LogSoftmax LogicalAnd
    LogicalNot LogicalOr Matmul Max MaxPool Maximum Mean Min Minimum Moveaxis Multiply Negative Normalize
    NotEqual OnesLike Pad Power Prod Relu Relu6 Repeat Reshape Selu Sigmoid Silu Softmax Softplus Softsign Split
    Sqrt Square Squeeze Stack Subtract Sum Swapaxes Tanh Tile Transpose TrueDivide Where ZerosLike
    """
)

#: TensorFlow functions that a Keras 2 model may call as layers (``TFOpLambda``). Any other name could reach
#: ``tf.io.write_file``.
TENSORFLOW_FUNCTIONS = names_in(
    """
    __operators__.add __operators__.getitem __operators__.mul __operators__.neg __operators__.pow
    __operators__.truediv abs add cast clip_by_value compat.v1.transpose concat convert_to_tensor divide einsum
    exp expand_dims identity image.resize linalg.matmul math.abs math.add math.add_n math.argmax math.divide
    math.exp math.greater math.l2_normalize math.less math.log math.maximum math.minimum math.multiply
    math.negative math.not_equal math.pow math.reduce_max math.reduce_mean math.reduce_min math.reduce_sum
    math.rsqrt math.sigmoid math.softplus math.sqrt math.square math.subtract math.tanh math.truediv nn.avg_pool
    nn.bias_add nn.conv2d nn.depthwise_conv2d nn.elu nn.gelu nn.leaky_relu nn.log_softmax nn.max_pool nn.relu
    nn.relu6 nn.selu nn.sigmoid nn.silu nn.softmax nn.softplus nn.softsign nn.tanh ones_like pad reshape shape
    slice split squeeze stack strided_slice subtract tile transpose unstack zeros_like
    """
)
TENSORFLOW_CALLS = frozenset({"TFOpLambda", "SlicingOpLambda"})

INITIALIZERS = names_in(
    """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer LecunNormal LecunUniform
    Ones Orthogonal OrthogonalInitializer RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
    constant glorot_normal glorot_uniform he_normal he_uniform identity lecun_normal lecun_uniform normal one ones
    orthogonal random_normal random_uniform truncated_normal uniform variance_scaling zero zeros
    """
)
REGULARIZERS = names_in(
    """
    L1 L1L2 L2 OrthogonalRegularizer l1 l1_l2 l2 l1l2 orthogonal_regularizer
    """
)
CONSTRAINTS = names_in(
    """
    MaxNorm MinMaxNorm NonNeg RadialConstraint UnitNorm max_norm maxnorm min_max_norm minmaxnorm non_neg nonneg
    radial_constraint unit_norm unitnorm
    """
)
ACTIVATIONS = names_in(
    """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear
    log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus
    sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink threshold
    """
)
OPTIMIZERS = names_in(
    """
    Adadelta Adafactor Adagrad Adam AdamW Adamax CosineDecay CosineDecayRestarts ExponentialDecay Ftrl
    InverseTimeDecay Lamb Lion LossScaleOptimizer Muon Nadam PiecewiseConstantDecay PolynomialDecay RMSprop SGD
    """
)
LOSSES_AND_METRICS = names_in(
    """
    AUC Accuracy BinaryAccuracy BinaryCrossentropy BinaryFocalCrossentropy BinaryIoU CategoricalAccuracy
    CategoricalCrossentropy CategoricalFocalCrossentropy CategoricalHinge CosineSimilarity Dice F1Score FBetaScore
    FalseNegatives FalsePositives Hinge Huber IoU KLDivergence LogCosh LogCoshError Mean MeanAbsoluteError
    MeanAbsolutePercentageError MeanIoU MeanSquaredError MeanSquaredLogarithmicError OneHotIoU OneHotMeanIoU
    Poisson Precision PrecisionAtRecall R2Score Recall RecallAtPrecision RootMeanSquaredError
    SensitivityAtSpecificity SparseCategoricalAccuracy SparseCategoricalCrossentropy SparseTopKCategoricalAccuracy
    SpecificityAtSensitivity SquaredHinge Sum TopKCategoricalAccuracy TrueNegatives TruePositives Tversky
    """
)

#: Number formats and plain data that the configuration writes as objects.
DATA = names_in(
    """
    DTypePolicy FloatDTypePolicy Policy InputSpec TensorShape __bytes__ __ellipsis__ __keras_tensor__ __numpy__
    __slice__ __tensor__ __tuple__
    """
)

#: Layers that read text or look values up in tables, for which LiteRT has no operators.
NEEDS_STRINGS_OR_TABLES = frozenset({"HashedCrossing", "Hashing", "IntegerLookup", "StringLookup", "TextVectorization"})

#: What ``model.quantize()`` of Keras 3 writes into a model.
QUANTIZED_POLICIES = names_in(
    """
    AWQDTypePolicy GPTQDTypePolicy Int4DTypePolicy QuantizedDTypePolicy QuantizedFloat8DTypePolicy
    """
)

KNOWN_CLASSES = (
    MODELS
    | LAYERS
    | TENSORFLOW_CALLS
    | INITIALIZERS
    | REGULARIZERS
    | CONSTRAINTS
    | OPTIMIZERS
    | LOSSES_AND_METRICS
    | DATA
)

#: Which plain strings may stand under a key that ends so.
KNOWN_NAMES = {
    "activation": ACTIVATIONS,
    "_initializer": INITIALIZERS,
    "_regularizer": REGULARIZERS,
    "_constraint": CONSTRAINTS,
}
