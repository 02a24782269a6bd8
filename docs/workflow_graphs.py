"""The templates: what nodes they have, how these are linked, where they stand and what their note says; `make_workflows.py` writes them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from depth_normal.options.views import AMOUNT_OF_TINY


@dataclass(frozen=True)
class Node:
    """One node of a template.

    Attributes:
        id: Its number in the graph; tests and saved graphs know it.
        type: Its node id.
        values: Widgets that differ from their defaults; of ComfyUI's own nodes all that are saved, in order.
        links: For each linked input: the source's number and the name of its output.
        title: Where it is not the node's own name.
        muted: Whether it runs only after the user has woken it.
        height: Where it is not that of `workflow_layout.HEIGHTS`.
    """

    id: int
    type: str
    values: Mapping[str, Any] | tuple = field(default_factory=dict)
    links: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    title: str = ""
    muted: bool = False
    height: int | None = None


@dataclass(frozen=True)
class Graph:
    """One template.

    Attributes:
        name: What the template browser shows: the file's name.
        note: Its note, in Markdown.
        nodes: Its nodes; their order here is that of their links.
        columns: The numbers of the nodes in each column, from left to right and from above; the note is "note".
        note_height: The note's height: what Nodes 2.0 needs for its words.
        widths: Width of the nodes of each column; 350 where it is empty.
        gap: Width between two columns.
    """

    name: str
    note: str
    nodes: tuple[Node, ...]
    columns: tuple[tuple[int | str, ...], ...]
    note_height: int = 360
    widths: tuple[int, ...] = ()
    gap: int = 80


@dataclass(frozen=True)
class Blueprint:
    """Several nodes as one, in the page's list of nodes.

    Attributes:
        name: What the list shows: the file's name.
        description: What it does, in one sentence.
        search: More words that find it.
        nodes: Its nodes.
        columns: As `Graph.columns`, without a note.
        inputs: Name, type, and the node and input that each leads to.
        outputs: Name, node and that node's output.
        widgets: Node and widget of each control on the outside.
    """

    name: str
    description: str
    search: tuple[str, ...]
    nodes: tuple[Node, ...]
    columns: tuple[tuple[int, ...], ...]
    inputs: tuple[tuple[str, str, tuple[tuple[int, str], ...]], ...]
    outputs: tuple[tuple[str, int, str], ...]
    widgets: tuple[tuple[int, str], ...]


def note(text: str) -> str:
    """A note as the page saves it: the lines of a paragraph or of a list's point as one."""
    lines: list[str] = []
    for line in inspect.cleandoc(text).splitlines():
        if lines and lines[-1] and line and not re.match(r"- |\d\. |## ", line):
            lines[-1] += f" {line}"
        else:
            lines.append(line)
    return "\n".join(lines)


# What app mode shows of each node: first the image, then what changes the result most.
APP_WIDGETS: Mapping[str, tuple[str, ...]] = {
    "CLIPTextEncode": ("text",),
    "DepthNormal_AmbientOcclusion": ("radius",),
    "DepthNormal_BAENormalMap": ("coding",),
    "DepthNormal_DemoImage": ("image",),
    "DepthNormal_DemoVideo": ("file",),
    "DepthNormal_DepthAndNormals": ("model", "depth_look", "coding"),
    "DepthNormal_DepthAnythingV2": ("resolution",),
    "DepthNormal_DepthOfField": ("point_x", "point_y", "blur"),
    "DepthNormal_DepthParallax": ("move", "amount"),
    "DepthNormal_DetailNormals": ("relief",),
    "DepthNormal_EstimateGeometry": ("tiles",),
    "DepthNormal_EstimatePanorama": ("model", "depth_look", "coding"),
    "DepthNormal_Light": ("colour", "light_x", "light_y"),
    "DepthNormal_LoadModel": ("model",),
    "DepthNormal_MaterialFromPhoto": ("relief", "coding"),
    "DepthNormal_MiDaSDepthMap": ("resolution",),
    "DepthNormal_NormalsOfVideo": ("coding",),
    "DepthNormal_Relight": ("colour", "intensity", "ambient", "shadows"),
    "DepthNormal_RenderNormals": ("coding",),
    "DepthNormal_SaveMesh": ("format", "near_far_ratio"),
    "DepthNormal_Stereo": ("layout", "divergence"),
    "KSampler": ("seed",),
}
MAPS: dict[str, Any] = {"columns": ((1, 2), (3, "note"), (4, 5), (6, 7)), "widths": (310, 310, 290, 390), "gap": 40}
PAIR = (("note", 1), (2, 3), (4, 5))

GRAPHS = (
    Graph(
        "Depth and Normals",
        note(
            """## Depth map and normal map

            **No download**: *tiny* (9 MB, Apache-2.0) comes with the pack.

            1. **Demo Image**: keep it, or choose a photo with things near and far.
            2. Press **Run**.
            3. **Depth & Normals** shows both maps. *depth* is ready for ControlNet, *normals* for Blender.

            **Better maps**: **moge-2-vits-normal** (141 MB, MIT) in *model*, downloaded by the next run.

            *depth look*: **controlnet** as ControlNet's models expect it; the others are linear in depth or disparity.
            *normal coding*: **opengl** for Blender, **directx** for Unreal, **controlnet-normalbae** for ControlNet 1.1."""
        ),
        (Node(1, "DepthNormal_DemoImage", height=410), Node(2, "DepthNormal_DepthAndNormals", links={"image": (1, "image")}, height=770)),
        columns=(("note", 1), (2,)),
        note_height=260,
        widths=(400, 440),
    ),
    Graph(
        "Compare Models",
        note(
            """## Which model for this image?

            **No download** to begin: *tiny* (9 MB, Apache-2.0) comes with the pack. The second row is muted.

            1. **Demo Image**: keep it, or choose a photo with things near and far.
            2. Press **Run**.
            3. The first row shows depth, normals and the values under the pointer.
            4. **Second model**: drag a frame around the lower nodes, or hold Ctrl and click them, press **Ctrl+M** and **Run**.
            **moge-2-vits-normal** (141 MB, MIT) predicts metres and the camera; choose any other in **Second model**.

            **Compare** hair and wires, edges, floors and walls (one colour in the normals, or waves?), the sky, right angles in
            *3D*, metres or no unit. **docs/which-model.md** has advice."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_LoadModel", {"model": "tiny"}, title="First model"),
            Node(5, "DepthNormal_EstimateGeometry", {"sharp": True}, links={"model": (2, "model"), "image": (1, "image")}),
            Node(8, "DepthNormal_PreviewGeometry", links={"geometry": (5, "geometry")}, title="First model: preview"),
            Node(3, "DepthNormal_LoadModel", {"model": "moge-2-vits-normal"}, title="Second model", muted=True),
            Node(6, "DepthNormal_EstimateGeometry", links={"model": (3, "model"), "image": (1, "image")}, muted=True),
            Node(9, "DepthNormal_PreviewGeometry", links={"geometry": (6, "geometry")}, title="Second model: preview", muted=True),
        ),
        columns=(("note",), (2, 3), (1,), (5, 6), (8, 9)),
        gap=34,
        widths=(330, 300, 320, 320, 330),
        note_height=360,
    ),
    Graph(
        "ControlNet with Normals",
        note(
            """## A new image with the same shapes

            **Model**: **bae-normal** (291 MB, code MIT, trained on ScanNet: commercial use unclear), downloaded by the first run
            unless it is on your disk; comfyui_controlnet_aux's files are found too.

            **Two files that you need** to get more than the normal map:

            - **models/checkpoints**: one of Stable Diffusion 1.5, such as **v1-5-pruned-emaonly-fp16.safetensors**
            (Comfy-Org/stable-diffusion-v1-5-archive)
            - **models/controlnet**: **control_v11p_sd15_normalbae_fp16.safetensors**
            (comfyanonymous/ControlNet-v1-1_fp16_safetensors)

            1. **Demo Image**: keep it, or choose an image whose shapes you want.
            2. **Prompt**: describe what they become.
            3. Press **Run**: you get **Normal map** and **Image with the same shapes**.

            The map's coding is **controlnet-normalbae**: left red, up green, towards you blue, as in ControlNet 1.1's training. The
            older control_sd15_normal needs **controlnet-1.0-normal**. For other models see **docs/which-model.md**."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_BAENormalMap", links={"image": (1, "image")}),
            Node(3, "PreviewImage", links={"images": (2, "IMAGE")}, title="Normal map", height=270),
            Node(4, "CheckpointLoaderSimple", ("v1-5-pruned-emaonly-fp16.safetensors",)),
            Node(5, "ControlNetLoader", ("control_v11p_sd15_normalbae_fp16.safetensors",)),
            Node(6, "CLIPTextEncode", ("a marble statue in a museum, soft daylight, photograph",), {"clip": (4, "CLIP")}, title="Prompt"),
            Node(7, "CLIPTextEncode", ("blurry, low quality",), {"clip": (4, "CLIP")}, title="Negative prompt"),
            Node(
                8,
                "ControlNetApplyAdvanced",
                (1.0, 0.0, 1.0),
                {
                    "positive": (6, "CONDITIONING"),
                    "negative": (7, "CONDITIONING"),
                    "control_net": (5, "CONTROL_NET"),
                    "image": (2, "IMAGE"),
                },
            ),
            Node(10, "EmptyLatentImage", (768, 512, 1)),
            Node(
                11,
                "KSampler",
                (0, "fixed", 20, 7.0, "dpmpp_2m", "karras", 1.0),
                {"model": (4, "MODEL"), "positive": (8, "positive"), "negative": (8, "negative"), "latent_image": (10, "LATENT")},
            ),
            Node(12, "VAEDecode", links={"samples": (11, "LATENT"), "vae": (4, "VAE")}),
            Node(13, "PreviewImage", links={"images": (12, "IMAGE")}, title="Image with the same shapes"),
        ),
        columns=((4, 1), (6, 7, 5, 2), (8, 10), (11, 3), (12, "note"), (13,)),
        gap=40,
        widths=(240, 240, 250, 250, 320, 240),
        note_height=420,
    ),
    Graph(
        "Depth Anything 3 in Metres",
        note(
            """## Depth Anything 3: metres

            **Model**: **depth-anything-3-metric-large** (1.34 GB, Apache-2.0), downloaded by the first run unless it is on your
            disk (**models/geometry_estimation**).

            1. **Demo Image**: keep it, or choose a photo with things near and far.
            2. Press **Run**.
            3. In **Depth** near is white and the sky black. **Normal map** is computed from the metres, in OpenGL's colours.

            **fov** in **Depth & Normals (advanced)** is the field of view of the image's longer side in degrees. Metres are correct only
            with it: a phone's main camera 65 to 70, 50 mm on full frame 40, 24 mm 74. At 0, 55 is assumed.

            **Smaller**: **depth-anything-3-small** (137 MB, Apache-2.0) estimates the camera itself; its depth has no unit. For
            ControlNet 1.1 set *normal coding* to **controlnet-normalbae**."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_LoadModel", {"model": "depth-anything-3-metric-large"}),
            Node(3, "DepthNormal_EstimateGeometry", links={"model": (2, "model"), "image": (1, "image")}),
            Node(4, "DepthNormal_RenderDepth", links={"geometry": (3, "geometry")}),
            Node(5, "DepthNormal_RenderNormals", links={"geometry": (3, "geometry")}),
            Node(6, "PreviewImage", links={"images": (4, "image")}, title="Depth", height=350),
            Node(7, "PreviewImage", links={"images": (5, "IMAGE")}, title="Normal map", height=350),
        ),
        **MAPS,
    ),
    Graph(
        "Depth Anything V2",
        note(
            """## Depth Anything V2: depth and normals

            **Model**: **depth-anything-v2-small** (99 MB, Apache-2.0), downloaded by the first run unless it is on your disk;
            comfyui_controlnet_aux's files are found too.

            1. **Demo Image**: keep it, or choose a photo with things near and far.
            2. Press **Run**.
            3. In **Depth** near is white, for ControlNet's depth models. **Normal map** comes from the same model's depth, in
            OpenGL's colours.

            *resolution* is the short side of the result. For ControlNet 1.1 set *normal coding* to **controlnet-normalbae**, for Unreal to
            **directx**.

            **Larger**: base (390 MB) and large (1.34 GB) are finer, but CC BY-NC 4.0: **not for commercial use**. Depth here has no
            unit; for metres choose **depth-anything-v2-metric-indoor-small** or **-outdoor-small** (99 MB, Apache-2.0)."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_DepthAnythingV2", {"ckpt_name": "depth_anything_v2_vits.pth"}, {"image": (1, "image")}),
            Node(3, "DepthNormal_LoadModel", {"model": "depth-anything-v2-small"}),
            Node(4, "DepthNormal_EstimateGeometry", links={"model": (3, "model"), "image": (1, "image")}),
            Node(5, "DepthNormal_RenderNormals", links={"geometry": (4, "geometry")}),
            Node(6, "PreviewImage", links={"images": (2, "IMAGE")}, title="Depth", height=350),
            Node(7, "PreviewImage", links={"images": (5, "IMAGE")}, title="Normal map", height=350),
        ),
        columns=(("note",), (1, 3), (2, 4), (6, 5), (7,)),
        widths=(310, 300, 300, 310, 310),
        gap=50,
    ),
    Graph(
        "Depth Parallax",
        note(
            """## A camera that moves through a photograph

            **No download**: *tiny* (9 MB, Apache-2.0) comes with the pack. **midas-dpt-hybrid** (493 MB, MIT) in *model* is
            finer.

            1. **Demo Image**: keep it, or choose a photo with something near in front of something far.
            2. Press **Run**.
            3. An animated image of 2 seconds that loops is saved to the output folder.

            *move*: **orbit** (a circle), **swing** (left and right), **dolly** (forward and back). *amount*: how far, in shares of
            the distance to the nearest thing; above 0.1 more and more background is invented. *focus*: the depth that does not
            move, 0 the farthest, 1 the nearest.

            Any pack's depth map works (near = white). For a video file use **Create Video** and **Save Video** instead of the last
            node."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_MiDaSDepthMap", {"model": "tiny"}, links={"image": (1, "image")}),
            Node(3, "PreviewImage", links={"images": (2, "IMAGE")}, title="Depth"),
            Node(4, "DepthNormal_DepthParallax", {"frames": 48, "amount": AMOUNT_OF_TINY}, {"image": (1, "image"), "depth": (2, "IMAGE")}),
            Node(5, "SaveAnimatedWEBP", ("parallax", 24.0, False, 85, "default"), {"images": (4, "frames")}),
        ),
        columns=(("note", 1), (2,), (4, 3), (5,)),
        note_height=300,
    ),
    Graph(
        "Depth of Field",
        note(
            """## A photograph through a large lens

            **No download**: *tiny* (9 MB, Apache-2.0) comes with the pack.

            1. **Demo Image**: keep it, or choose a photo with things near and far.
            2. Press **Run**.
            3. **Click on the image** on **Depth of Field**: that point becomes sharp, the rest soft. The line below shows the sharp
            range.
            4. Press **Run** again: **Through the lens** is the image at full size.

            **blur**: strength of the blur. With metric depth you can set an **f_number** instead. **blades** makes lights polygons,
            **highlights** brightens clipped lights.

            **Cleaner outlines**: **moge-2-vits-normal** (141 MB, MIT) in **Load Depth Model**; the line then shows metres."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_LoadModel", {"model": "tiny"}),
            Node(3, "DepthNormal_EstimateGeometry", links={"model": (2, "model"), "image": (1, "image")}),
            Node(4, "DepthNormal_DepthOfField", links={"image": (1, "image"), "geometry": (3, "geometry")}),
            Node(5, "PreviewImage", links={"images": (4, "IMAGE")}, title="Through the lens", height=400),
        ),
        columns=(("note",), (1, 2), (3,), (4,), (5,)),
        widths=(310, 290, 290, 370, 310),
        gap=40,
    ),
    Graph(
        "Geometry to Normals and Light",
        note(
            """## From a photo to raw depth, normals and light

            **No download**: *tiny* (9 MB, Apache-2.0) comes with the pack. **moge-2-vits-normal** (141 MB, MIT) in **Load Depth
            Model** predicts metres.

            1. **Demo Image**: keep it, or choose a photo with things near and far.
            2. Press **Run**.
            3. **Preview Geometry** shows depth, normals and 3D. **Relit**: under a sun from the left.

            **Depth & Normals (advanced)** outputs raw numbers, not an image: nothing is rounded to grey levels. Normals are computed from
            planes fitted to the depth, unless the model predicts them. **Relight** uses the same geometry: *azimuth* and
            *elevation* move the sun.

            Add **Save Geometry** to save it (EXR, NPZ), **Save Mesh** for 3D."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_LoadModel", {"model": "tiny"}),
            Node(3, "DepthNormal_EstimateGeometry", links={"model": (2, "model"), "image": (1, "image")}, height=314),
            Node(4, "DepthNormal_PreviewGeometry", links={"geometry": (3, "geometry")}, height=440),
            Node(
                7,
                "DepthNormal_Relight",
                {"azimuth": 180.0, "elevation": 35.0, "ambient": 0.2},
                {"image": (1, "image"), "geometry": (3, "geometry")},
            ),
            Node(10, "PreviewImage", links={"images": (7, "IMAGE")}, title="Relit", height=350),
        ),
        columns=((1, 2), (3, "note"), (4,), (7,), (10,)),
        gap=36,
        widths=(310, 310, 310, 350, 310),
        note_height=336,
    ),
    Graph(
        "LBM Depth and Normals",
        note(
            """## LBM: depth and normals

            **Models**: **lbm-depth** and **lbm-normals** (about 5.0 GB each, CC BY-NC 4.0: **not for commercial use**), downloaded
            by the first run unless they are on your disk (**models/diffusion_models**). For a graphics card.

            **Once**: if the package diffusers is missing, the first run shows a **pip install** command that keeps ComfyUI's
            versions. Paste it into a terminal, then restart.

            1. **Demo Image**: keep it, or choose a photo with things near and far.
            2. Press **Run**.
            3. **Depth**: near = white. **Normal map**: in OpenGL's colours.

            For ControlNet 1.1 set *normal coding* to **controlnet-normalbae**, for Unreal to **directx**. The depth is also linked to
            the node of the normals, which checks the signs of its normals with it. The *geometry* outputs have the raw values.

            This template's image is ground truth, rendered by Blender, not a result of LBM."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_LBMDepth", links={"image": (1, "image")}),
            Node(3, "DepthNormal_LBMDepth", {"model": "lbm-normals"}, links={"image": (1, "image"), "geometry": (2, "geometry")}),
            Node(4, "PreviewImage", links={"images": (2, "image")}, title="Depth"),
            Node(5, "PreviewImage", links={"images": (3, "image")}, title="Normal map"),
        ),
        columns=(("note", 1), (2,), (3, 4), (5,)),
    ),
    Graph(
        "Large Image",
        note(
            """## Large images: more detail

            **No download**: *tiny* (9 MB, Apache-2.0) comes with the pack.

            1. **Demo Image**: keep it, or choose an image of 1500 pixels or more.
            2. Press **Run**.
            3. **Depth** and **Normal map** have the image's size, with the tiles' detail and without seams.

            **tiles** in **Depth & Normals (advanced)**. *auto*: the network runs on the whole image and on up to 16 overlapping
            tiles, which are aligned to the whole. A number: tiles along the longer side; time grows with its square. *off*: one pass, to
            compare.

            **refine edges** aligns the edges of the maps to the image's edges; it takes seconds and needs no second model.

            **Better maps.** **moge-2-vits-normal** (141 MB, MIT) or **depth-anything-v2-small** (99 MB, Apache-2.0) in **Load Depth
            Model**."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_LoadModel", {"model": "tiny"}),
            Node(3, "DepthNormal_EstimateGeometry", {"tiles": "auto"}, {"model": (2, "model"), "image": (1, "image")}),
            Node(4, "DepthNormal_RenderDepth", links={"geometry": (3, "geometry")}),
            Node(5, "DepthNormal_RenderNormals", links={"geometry": (3, "geometry")}),
            Node(6, "PreviewImage", links={"images": (4, "image")}, title="Depth", height=350),
            Node(7, "PreviewImage", links={"images": (5, "IMAGE")}, title="Normal map", height=350),
        ),
        **MAPS,
    ),
    Graph(
        "Lotus Depth and Normals",
        note(
            """## Lotus: depth and normals

            **Models**: **lotus-depth-d** (about 2.6 GB, Apache-2.0) and **lotus-normals-d** (about 4.3 GB, Apache-2.0), downloaded
            by the first run unless they are on your disk (**models/diffusers** or, as one file, **models/diffusion_models**). For a
            graphics card.

            **Once**: if the package diffusers is missing, the first run shows a **pip install** command that keeps ComfyUI's
            versions. Paste it into a terminal, then restart.

            1. **Demo Image**: keep it, or choose a photo with things near and far.
            2. Press **Run**.
            3. **Depth**: near = white. **Normal map**: in OpenGL's colours.

            Models with *-d* always give the same result, those with *-g* depend on the seed. For ControlNet 1.1 set *normal coding* to
            **controlnet-normalbae**, for Unreal to **directx**. The *geometry* outputs have the raw values.

            This template's image is ground truth, rendered by Blender, not a result of Lotus."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_LotusDepth", links={"image": (1, "image")}),
            Node(3, "DepthNormal_LotusDepth", {"model": "lotus-normals-d"}, links={"image": (1, "image")}),
            Node(4, "PreviewImage", links={"images": (2, "image")}, title="Depth"),
            Node(5, "PreviewImage", links={"images": (3, "image")}, title="Normal map"),
        ),
        columns=PAIR,
    ),
    Graph(
        "Marigold Depth and Normals",
        note(
            """## Marigold: depth and normals

            **Models**: **marigold-depth** and **marigold-normals** (about 2.6 GB each, OpenRAIL++-M), downloaded by the first run
            unless they are on your disk (**models/diffusers**). For a graphics card.

            **Once**: if the package diffusers is missing, the first run shows a **pip install** command that keeps ComfyUI's
            versions. Paste it into a terminal, then restart.

            1. **Demo Image**: keep it, or choose a photo with things near and far.
            2. Press **Run**.
            3. **Depth**: near = white. **Normal map**: in OpenGL's colours.

            *steps* 0: the authors' recommendation. *ensemble_size* 3 or more: slower and better. For ControlNet 1.1 set *normal coding* to
            **controlnet-normalbae**, for Unreal to **directx**. The *geometry* outputs have the raw values.

            This template's image is ground truth, rendered by Blender, not a result of Marigold."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_MarigoldDepth", links={"image": (1, "image")}),
            Node(3, "DepthNormal_MarigoldDepth", {"model": "marigold-normals"}, links={"image": (1, "image")}),
            Node(4, "PreviewImage", links={"images": (2, "image")}, title="Depth"),
            Node(5, "PreviewImage", links={"images": (3, "image")}, title="Normal map"),
        ),
        columns=PAIR,
    ),
    Graph(
        "Mesh from Photo",
        note(
            """## 3D from one photo

            **No download**: *tiny* (9 MB, Apache-2.0) comes with the pack.

            1. **Demo Image**: keep it, or choose a photo with things near and far.
            2. Press **Run**.
            3. **Preview Geometry**: press *3D* and drag to turn the surface.
            4. **Save Mesh** saves a GLB with the image as texture to the output folder, below **3d**. Drop it into Blender or a
            browser.

            **True shapes**: **moge-2-vits-normal** (141 MB, MIT) in **Load Depth Model** predicts metres and the camera.
            With *tiny* the shape is an assumption: if it is too deep, set *near_far_ratio* in **Save Mesh** to 2; if too flat, to
            5.

            *fill_behind* lets far surfaces go on behind near things, so that no gap shows while the view turns by so many degrees.
            0 leaves what the photo does not show open.

            *format* **ply** for MeshLab. *max_jump*: smaller cuts more between near and far. To view the file here, link
            *model_file* to core's **Preview 3D**. For a relief to print: **Geometry to Relief (STL)**."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_LoadModel", {"model": "tiny"}),
            Node(3, "DepthNormal_EstimateGeometry", links={"model": (2, "model"), "image": (1, "image")}),
            Node(4, "DepthNormal_PreviewGeometry", links={"geometry": (3, "geometry"), "image": (1, "image")}, height=312),
            Node(5, "DepthNormal_SaveMesh", {"fill_behind": 35.0}, {"geometry": (3, "geometry"), "image": (1, "image")}),
        ),
        columns=(("note",), (1, 2), (3,), (4, 5)),
        gap=40,
        widths=(320, 320, 310, 350),
        note_height=420,
    ),
    Graph(
        "MiDaS Depth and Normal Map",
        note(
            """## MiDaS: depth and normal map

            **Model**: **midas-dpt-hybrid** (493 MB, MIT), downloaded by the first run unless it is on your disk;
            comfyui_controlnet_aux's files are found too. **tiny** in *model* needs no download.

            1. **Demo Image**: keep it, or choose a photo with things near and far.
            2. Press **Run**.
            3. In **Depth** near is white, for ControlNet's depth models. **Normal map** is coded for ControlNet 1.0's
            **control_sd15_normal**.

            For **control_v11p_sd15_normalbae** set *normal coding* to **controlnet-normalbae**, for Blender to **opengl**, for Unreal to
            **directx**. *flatness (a)*: larger is flatter. *background threshold*: farther pixels face the viewer. *resolution*: short
            side of the result.

            **Others**: **midas-v2.1-small** (86 MB, MIT) is fast, **midas-dpt-large** (1.38 GB, MIT) finer."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_MiDaSNormalMap", {"model": "midas-dpt-hybrid"}, {"image": (1, "image")}),
            Node(3, "DepthNormal_MiDaSDepthMap", {"model": "midas-dpt-hybrid"}, {"image": (1, "image")}),
            Node(4, "PreviewImage", links={"images": (2, "IMAGE")}, title="Normal map"),
            Node(5, "PreviewImage", links={"images": (3, "IMAGE")}, title="Depth"),
        ),
        columns=PAIR,
    ),
    Graph(
        "MoGe-3 in Metres",
        note(
            """## MoGe-3: metres, normals and fine edges

            **Model**: **moge-3-vitl** (1.48 GB, MIT), downloaded by the first run unless it is on your disk; ComfyUI's own
            *moge_3_vitl_fp16.safetensors* is found too. Take it with a graphics card. On a CPU **moge-2-vits-normal** (141 MB, MIT)
            is many times faster.

            1. **Demo Image**: keep it, or choose any photo.
            2. Press **Run**.
            3. **Preview Geometry** shows depth, normals and the metres under the pointer; *3D* turns the scene.

            **How fine?** *refine_steps*, below *Show advanced inputs* of **Depth & Normals (advanced)**: 3 is the authors' default, 1 does
            the most for the time, 0 is MoGe-2's way.

            **Metres as EXR** holds depth, normals, positions and the camera for Blender and Nuke. It needs the package OpenEXR and is
            muted: select it and press Ctrl+M."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_LoadModel", {"model": "moge-3-vitl"}),
            Node(3, "DepthNormal_EstimateGeometry", links={"model": (2, "model"), "image": (1, "image")}),
            Node(4, "DepthNormal_PreviewGeometry", links={"geometry": (3, "geometry"), "image": (1, "image")}),
            Node(5, "DepthNormal_RenderNormals", links={"geometry": (3, "geometry")}),
            Node(6, "PreviewImage", links={"images": (5, "IMAGE")}, title="Normal map", height=270),
            Node(
                7,
                "DepthNormal_SaveGeometry",
                {"filename_prefix": "geometry/moge-3"},
                {"geometry": (3, "geometry")},
                title="Metres as EXR",
                muted=True,
            ),
        ),
        columns=(("note",), (1, 2), (3,), (4, 5), (6, 7)),
        widths=(310, 310, 300, 320, 320),
        gap=44,
    ),
    Graph(
        "PBR Textures",
        note(
            """## Height, normals, occlusion and curvature of a wall

            **No download**: *tiny* (9 MB, Apache-2.0) comes with the pack.

            1. **Demo Image**: keep it, or choose a wall, a floor or a fabric, taken straight on in flat light.
            2. Press **Run**.
            3. You get **Normal map**, **Ambient occlusion**, **Curvature** and **Height**, which is saved in 16 bits below
            **textures**.

            **It does not tile?** Set *borders* to **free** in all nodes, and use **Depth & Normals (advanced)** instead of **Estimate
            Seamless Texture**.

            **Detail Normals** adds the photo's fine relief: *relief* is its strength; *bright* decides whether bright joints are
            deep. *normal coding*: **opengl** for Blender and glTF, **directx** for Unreal, then also *normal coding* in the next
            nodes. *flatten* in **Normal to Height** keeps fine relief only.

            **More shape**: **moge-2-vits-normal** (141 MB, MIT) in **Load Depth Model**."""
        ),
        (
            Node(1, "DepthNormal_DemoImage", {"image": "depth_normal/wall.jpg [temp]"}),
            Node(2, "DepthNormal_LoadModel", {"model": "tiny"}),
            Node(3, "DepthNormal_SeamlessGeometry", links={"model": (2, "model"), "image": (1, "image")}),
            Node(4, "DepthNormal_DetailNormals", {"borders": "seamless"}, {"image": (3, "image"), "geometry": (3, "geometry")}),
            Node(
                5, "DepthNormal_NormalToHeight", {"borders": "seamless", "level": True, "flatten": 128.0}, {"normal_map": (4, "normal_map")}
            ),
            Node(
                6,
                "DepthNormal_AmbientOcclusion",
                {"radius": 32.0, "borders": "seamless"},
                {"height": (5, "height"), "height_range": (5, "height_range")},
            ),
            Node(7, "DepthNormal_Curvature", {"borders": "seamless"}, {"normal_map": (4, "normal_map")}),
            Node(9, "PreviewImage", links={"images": (4, "normal_map")}, title="Normal map", height=268),
            Node(10, "PreviewImage", links={"images": (6, "occlusion")}, title="Ambient occlusion", height=268),
            Node(11, "PreviewImage", links={"images": (7, "curvature")}, title="Curvature", height=268),
            Node(
                12,
                "DepthNormal_SaveTexture",
                {"filename_prefix": "textures/height"},
                {"image": (5, "height")},
                title="Height, saved in 16 bits",
            ),
        ),
        columns=((1, 2), (3, "note"), (4,), (5, 9), (6, 7), (10, 11), (12,)),
        gap=31,
        widths=(224, 248, 215, 215, 215, 215, 222),
        note_height=440,
    ),
    Graph(
        "Material from Photo",
        note(
            """## A material for a game engine, from one photo

            **Model**: **marigold-iid-appearance** (about 2.6 GB, OpenRAIL++-M), downloaded by the first run unless it is on your disk
            (**models/diffusers**). For a graphics card. The relief is by *tiny* (9 MB, Apache-2.0), which comes with the pack.

            **Once**: if the package diffusers is missing, the first run shows a **pip install** command that keeps ComfyUI's
            versions. Paste it into a terminal, then restart.

            1. **Demo Image**: keep it, or choose a wall, a floor or a fabric.
            2. Press **Run**.
            3. **Albedo** has no light and shadow, in sRGB. **Roughness** and **Metallic** are linear. Normals, *height* and *occlusion*
            are those of the relief.
            4. **Save ORM** saves occlusion, roughness and metallic as one image of 16 bits; in the engine, switch its
            sRGB off.
            **Save Texture** saves the others too.

            **It does not tile?** Set *borders* to **free**; use **Depth & Normals (advanced)** instead of **Estimate Seamless
            Texture**.

            *relief*: how deep the photo's light and dark is. *normal coding*: **opengl** for Blender and glTF, **directx** for Unreal.

            This template's image shows the truth of a drawn wall, not a result of Marigold."""
        ),
        (
            Node(1, "DepthNormal_DemoImage", {"image": "depth_normal/wall.jpg [temp]"}),
            Node(2, "DepthNormal_LoadModel", {"model": "tiny"}),
            Node(3, "DepthNormal_SeamlessGeometry", links={"model": (2, "model"), "image": (1, "image")}),
            Node(4, "DepthNormal_MaterialFromPhoto", {"borders": "seamless"}, {"image": (3, "image"), "geometry": (3, "geometry")}),
            Node(5, "PreviewImage", links={"images": (4, "albedo")}, title="Albedo", height=270),
            Node(6, "PreviewImage", links={"images": (4, "normal_map")}, title="Normal map", height=270),
            Node(7, "PreviewImage", links={"images": (4, "roughness")}, title="Roughness", height=270),
            Node(9, "DepthNormal_SaveTexture", {"filename_prefix": "textures/orm"}, {"image": (4, "orm")}, title="Save ORM"),
        ),
        columns=((1, 2), (3, "note"), (4,), (5, 6), (7,), (9,)),
        gap=38,
        widths=(250, 310, 270, 240, 240, 240),
        note_height=470,
    ),
    Graph(
        "Relight Live",
        note(
            """## Light that follows the pointer

            **No download**: *tiny* (9 MB, Apache-2.0) comes with the pack.

            1. **Demo Image**: keep it, or choose an image, best with soft light.
            2. Press **Run** once.
            3. **Drag the lamp** in the image on **Relight**: the light moves at once. Shift and up or down, or the wheel after a
            click: nearer or farther.
            4. Press **Run** again: **Full size** is the finished image.

            *light* **directional** is a sun: its handle is on a globe around the image; in the middle it shines from the viewer, on
            the circle it grazes.

            **Better light**: **moge-2-vits-normal** (141 MB, MIT) in **Load Depth Model**."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_LoadModel", {"model": "tiny"}),
            Node(3, "DepthNormal_EstimateGeometry", links={"model": (2, "model"), "image": (1, "image")}, height=314),
            Node(4, "DepthNormal_PreviewGeometry", links={"geometry": (3, "geometry")}, height=440),
            Node(
                5,
                "DepthNormal_Relight",
                {"light": "point", "colour": "#ffd9a8", "light_x": 0.85, "light_depth": 0.9, "ambient": 0.12, "shadows": 0.7},
                {"image": (1, "image"), "geometry": (3, "geometry")},
            ),
            Node(6, "PreviewImage", links={"images": (5, "IMAGE")}, title="Full size, after Run", height=350),
        ),
        columns=((1, 2), (3, "note"), (4,), (5,), (6,)),
        gap=36,
        widths=(310, 310, 310, 350, 310),
        note_height=330,
    ),
    Graph(
        "Relight",
        note(
            """## Sun and candle, from any pack's maps

            **No download**: *tiny* (9 MB, Apache-2.0) comes with the pack. **midas-dpt-hybrid** (493 MB, MIT) in *model* is
            finer.

            1. **Demo Image**: keep it, or choose an image, best with soft light.
            2. Press **Run**.
            3. **Lit by both** shows it under a sun from the left and a candle.

            **Relight** is the sun: *azimuth* 0 from the right, 90 above, 180 left; *elevation* 0 grazes, 90 comes from the viewer.
            **Light** adds the candle: *light_x*, *light_y* are its place in the image, *light_depth* 1 is the near end. *ambient*
            is the share of the image's own light; *shadows* are computed from the depth.

            Another pack's normal map works too: set *normal coding* to its convention. A depth map alone is enough. **Relight
            Live** is the same with a lamp that you can drag."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_DepthAndNormals", {"model": "tiny"}, {"image": (1, "image")}, height=690),
            Node(
                4,
                "DepthNormal_Relight",
                {"azimuth": 180.0, "elevation": 35.0, "ambient": 0.2, "shadows": 0.7},
                {"image": (1, "image"), "normal_map": (2, "normals"), "depth": (2, "depth"), "lights": (5, "lights")},
                title="Sun from the left",
            ),
            Node(6, "PreviewImage", links={"images": (4, "IMAGE")}, title="Lit by both", height=350),
            Node(
                5,
                "DepthNormal_Light",
                {
                    "light": "point",
                    "colour": "#ffb46b",
                    "light_x": 0.25,
                    "light_y": 0.3,
                    "light_depth": 0.7,
                    "light_size": 0.15,
                    "shadows": 0.6,
                },
                title="Candle",
            ),
        ),
        columns=((1, "note"), (2,), (5,), (4,), (6,)),
        gap=34,
        widths=(300, 350, 290, 360, 300),
        note_height=325,
    ),
    Graph(
        "Panorama",
        note(
            """## Depth, normals and a mesh of a 360° panorama

            **No download**: *tiny* (9 MB, Apache-2.0) comes with the pack: a preview, whose distances have no unit.

            1. **Demo Image**: keep it, or choose a panorama (equirectangular, twice as wide as high).
            2. Press **Run**.
            3. **Estimate Panorama** shows both maps: they have no seam. **Save Mesh** writes a closed mesh to be seen from inside.

            **Metres**: **moge-2-vits-normal** (141 MB, MIT) in *model*, downloaded by the next run.

            Depth is the distance in each direction. In the normal map floors are green (**opengl**). Nodes that need a perspective
            camera, such as **Relight**, refuse the geometry."""
        ),
        (
            Node(1, "DepthNormal_DemoImage", {"image": "depth_normal/panorama.jpg [temp]"}),
            Node(2, "DepthNormal_EstimatePanorama", {"model": "tiny"}, links={"image": (1, "image")}, height=700),
            Node(3, "DepthNormal_SaveMesh", links={"geometry": (2, "geometry"), "image": (1, "image")}),
        ),
        columns=((1, "note"), (2,), (3,)),
        note_height=300,
        widths=(350, 400, 350),
    ),
    Graph(
        "Stereo 3D",
        note(
            """## Stereo 3D from one photo

            **No download**: *tiny* (9 MB, Apache-2.0) comes with the pack. **midas-dpt-hybrid** (493 MB, MIT) in *model* is
            finer.

            1. **Demo Image**: keep it, or choose an image with depth.
            2. Press **Run**.
            3. The left and right view are saved side by side to the output folder.

            *layout*: **full-sbs** for headsets and players (keep **_LRF_Full_SBS** in the name), **half-sbs**, **half-tb** for
            televisions, **cross-eyed** without glasses, **anaglyph** for red-cyan glasses. *divergence*: strength of the effect in
            percent of the width; 2 is comfortable, 5 strong. *convergence*: the depth on the screen, 0 the farthest, 1 the nearest.

            Any pack's depth map works. For a video set *normalisation* to **per_clip**. *holes* marks filled-in pixels, for an
            inpainting model."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_MiDaSDepthMap", {"model": "tiny"}, links={"image": (1, "image")}),
            Node(3, "PreviewImage", links={"images": (2, "IMAGE")}, title="Depth"),
            Node(4, "DepthNormal_Stereo", links={"image": (1, "image"), "depth": (2, "IMAGE")}),
            Node(5, "SaveImage", ("stereo_LRF_Full_SBS",), {"images": (4, "stereo")}, height=380),
        ),
        columns=(("note", 1), (2,), (4, 3), (5,)),
        note_height=310,
    ),
    Graph(
        "Tiny Preview",
        note(
            """## Depth and normals at once

            **No download, no account**: the network *tiny* (9 MB, Apache-2.0) comes with the pack.

            1. **Demo Image**: keep it, or choose a photo with things near and far.
            2. Press **Run**.
            3. In **Depth** near is white. **Normal map** shows the direction of each surface, in OpenGL's colours.

            **Uses.** Depth: ControlNet's depth models. Normals: Blender, unchanged; for ControlNet 1.1 set *normal coding* in **Render
            Normals** to **controlnet-normalbae**, for Unreal to **directx**.

            **Better maps.** *tiny* is a preview: it fails on fine things and unusual views. Choose **moge-2-vits-normal** (141 MB,
            MIT) in **Load Depth Model**: metres, normals and camera. The rest of the graph needs no change."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_LoadModel", {"model": "tiny"}),
            Node(3, "DepthNormal_EstimateGeometry", {"sharp": True}, links={"model": (2, "model"), "image": (1, "image")}),
            Node(4, "DepthNormal_RenderDepth", links={"geometry": (3, "geometry")}),
            Node(5, "DepthNormal_RenderNormals", links={"geometry": (3, "geometry")}),
            Node(6, "PreviewImage", links={"images": (4, "image")}, title="Depth", height=350),
            Node(7, "PreviewImage", links={"images": (5, "IMAGE")}, title="Normal map", height=350),
        ),
        **MAPS,
    ),
    Graph(
        "Video Depth",
        note(
            """## A depth video without flicker

            **No download**: *tiny* (9 MB, Apache-2.0) comes with the pack.

            1. **Demo Video**: keep it, or choose a video.
            2. Press **Run**.
            3. **Save Video** shows its depth, near = white, with the frame rate and sound of the input.

            *normalisation* **running** follows the clip without flicker. *align* and *smooth* keep unchanged parts stable; a cut
            starts anew. Ten thousand frames need no more memory than a hundred.

            **Better videos**: **video-depth-anything-small** (116 MB, Apache-2.0) in **Load Depth Model**.

            Numbered PNG or EXR, 10 or 16 bits, control videos for Wan and LTX: **depth-normal video** on the command line."""
        ),
        (
            Node(1, "DepthNormal_DemoVideo"),
            Node(2, "DepthNormal_LoadModel", {"model": "tiny"}),
            Node(3, "DepthNormal_DepthOfVideo", links={"model": (2, "model"), "video": (1, "video")}),
            Node(4, "SaveVideo", ("video/Video_Depth", "auto", "auto"), {"video": (3, "VIDEO")}),
        ),
        columns=(("note",), (1, 2), (3,), (4,)),
    ),
    Graph(
        "Video Normals",
        note(
            """## A normal-map video without flicker

            **No download**: *tiny* (9 MB, Apache-2.0) comes with the pack.

            1. **Demo Video**: keep it, or choose a video.
            2. Press **Run**.
            3. **Save Video** shows its normals, with the frame rate and sound of the input.

            *normal coding*: **opengl** for Blender, **directx** for Unreal, **controlnet-normalbae** for ControlNet 1.1. *align* and
            *smooth* keep unchanged parts stable; a cut starts anew. Ten thousand frames need no more memory than a hundred.

            **Better normals**: **moge-2-vits-normal** (141 MB, MIT) in **Load Depth Model**.

            Numbered PNG or EXR, 10 or 16 bits: **depth-normal video** on the command line."""
        ),
        (
            Node(1, "DepthNormal_DemoVideo"),
            Node(2, "DepthNormal_LoadModel", {"model": "tiny"}),
            Node(3, "DepthNormal_NormalsOfVideo", links={"model": (2, "model"), "video": (1, "video")}),
            Node(4, "SaveVideo", ("video/Video_Normals", "auto", "auto"), {"video": (3, "VIDEO")}),
        ),
        columns=(("note",), (1, 2), (3,), (4,)),
    ),
    Graph(
        "ZoeDepth in Metres",
        note(
            """## ZoeDepth: metres

            **Model**: **zoedepth-nyu** (1.44 GB, MIT), downloaded by the first run unless it is on your disk;
            comfyui_controlnet_aux's files are found too. It was trained on rooms, up to 10 m; **zoedepth-kitti** on streets, up to
            80 m; **zoedepth-nyu-kitti** chooses by the image.

            1. **Demo Image**: keep it, or choose a room or a street.
            2. Press **Run**.
            3. **Depth** is the depth map of the old *Zoe Depth Map* node: near = white. **Metres as NPZ** saves float32 metres and
            normals to the output folder, below **geometry**.

            **numpy.load(path)["depth"]** reads them. **Metres as EXR** is muted: select it and press Ctrl+M; it needs the package
            OpenEXR in ComfyUI's Python. Blender, Nuke and Houdini read it.

            *fov* sets the camera for normals and meshes; ZoeDepth's metres do not depend on it."""
        ),
        (
            Node(1, "DepthNormal_DemoImage"),
            Node(2, "DepthNormal_LoadModel", {"model": "zoedepth-nyu"}),
            Node(3, "DepthNormal_EstimateGeometry", links={"model": (2, "model"), "image": (1, "image")}),
            Node(
                4,
                "DepthNormal_RenderDepth",
                {"metric_as_disparity": False, "percentile_low": 2.0, "percentile_high": 85.0},
                {"geometry": (3, "geometry")},
            ),
            Node(5, "PreviewImage", links={"images": (4, "image")}, title="Depth", height=280),
            Node(
                6,
                "DepthNormal_SaveGeometry",
                {"filename_prefix": "geometry/zoe", "format": "npz"},
                {"geometry": (3, "geometry")},
                title="Metres as NPZ (numpy)",
            ),
            Node(
                7,
                "DepthNormal_SaveGeometry",
                {"filename_prefix": "geometry/zoe"},
                {"geometry": (3, "geometry")},
                title="Metres as EXR (muted)",
                muted=True,
            ),
        ),
        columns=((1, 2), (3, "note"), (6,), (4,), (7, 5)),
        gap=34,
        widths=(316, 316, 316, 336, 316),
        note_height=360,
    ),
)

BLUEPRINTS = (
    Blueprint(
        "Depth and Normals for ControlNet",
        "Makes a depth map and a normal map as ControlNet 1.1 expects them.",
        ("controlnet", "depth", "normalbae", "preprocessor"),
        (Node(1, "DepthNormal_DepthAndNormals", {"coding": "controlnet-normalbae"}),),
        columns=((1,),),
        inputs=(("image", "IMAGE", ((1, "image"),)),),
        outputs=(("depth", 1, "depth"), ("normals", 1, "normals")),
        widgets=((1, "model"), (1, "resolution")),
    ),
    Blueprint(
        "Relight Photo",
        "Lights a photo anew, with shadows, by the depth and normals that it estimates.",
        ("light", "relight", "sun", "lamp"),
        (
            Node(1, "DepthNormal_DepthAndNormals"),
            Node(2, "DepthNormal_Relight", {"azimuth": 180.0, "elevation": 35.0, "ambient": 0.2}, {"geometry": (1, "geometry")}),
        ),
        columns=((1,), (2,)),
        inputs=(("image", "IMAGE", ((1, "image"), (2, "image"))),),
        outputs=(("image", 2, "IMAGE"),),
        widgets=((1, "model"), (2, "light"), (2, "colour"), (2, "azimuth"), (2, "elevation"), (2, "intensity"), (2, "ambient")),
    ),
    Blueprint(
        "3D Photo",
        "Moves a camera through a photo: frames of a parallax animation.",
        ("parallax", "2.5d", "ken burns", "camera"),
        (
            Node(1, "DepthNormal_DepthAndNormals"),
            Node(2, "DepthNormal_DepthParallax", {"amount": AMOUNT_OF_TINY}, {"geometry": (1, "geometry")}),
        ),
        columns=((1,), (2,)),
        inputs=(("image", "IMAGE", ((1, "image"), (2, "image"))),),
        outputs=(("frames", 2, "frames"),),
        widgets=((1, "model"), (2, "move"), (2, "amount"), (2, "frames")),
    ),
    Blueprint(
        "PBR Texture Set",
        "Makes a seamless texture of a photo: colour, normals, height, ambient occlusion and curvature.",
        ("pbr", "texture", "material", "height map", "seamless"),
        (
            Node(1, "DepthNormal_LoadModel", {"model": "tiny"}),
            Node(2, "DepthNormal_SeamlessGeometry", links={"model": (1, "model")}),
            Node(3, "DepthNormal_DetailNormals", {"borders": "seamless"}, {"image": (2, "image"), "geometry": (2, "geometry")}),
            Node(
                4, "DepthNormal_NormalToHeight", {"borders": "seamless", "level": True, "flatten": 128.0}, {"normal_map": (3, "normal_map")}
            ),
            Node(
                5,
                "DepthNormal_AmbientOcclusion",
                {"radius": 32.0, "borders": "seamless"},
                {"height": (4, "height"), "height_range": (4, "height_range")},
            ),
            Node(6, "DepthNormal_Curvature", {"borders": "seamless"}, {"normal_map": (3, "normal_map")}),
        ),
        columns=((1,), (2,), (3,), (4, 6), (5,)),
        inputs=(("image", "IMAGE", ((2, "image"),)),),
        outputs=(
            ("colour", 2, "image"),
            ("normals", 3, "normal_map"),
            ("height", 4, "height"),
            ("occlusion", 5, "occlusion"),
            ("curvature", 6, "curvature"),
        ),
        widgets=((1, "model"), (3, "relief")),
    ),
)
"""Blueprints; `make_workflows.py` writes them too."""
