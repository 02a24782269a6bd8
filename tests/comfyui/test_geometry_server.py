"""Raw geometry in a real ComfyUI server: core's MoGe, Depth Anything 3 and mesh nodes take it and give it, files bring it back."""

import json
import struct

import cv2
import numpy as np
import pytest
import torch

from depth_normal.geometry.camera import intrinsics_from_fov, pixel_rays
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.files import read_npz, write_npz
from tests.prompts import call as core
from tests.prompts import ours as node

pytestmark = pytest.mark.comfyui

HEIGHT, WIDTH = 48, 64
NORMAL = torch.nn.functional.normalize(torch.tensor([0.3, 0.4, 0.8]), dim=0)


def plane() -> Estimate:
    """A tilted plane 3 m away, with its camera and a masked corner."""
    intrinsics = intrinsics_from_fov(60, HEIGHT, WIDTH)
    direction = (NORMAL * torch.tensor([1.0, -1.0, -1.0])).view(1, 3, 1, 1)
    depth = 3 * direction[:, 2:] / (pixel_rays(intrinsics, HEIGHT, WIDTH) * direction).sum(1, keepdim=True)
    mask = torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[:, :, :8, :8] = False
    return Estimate(depth, Quantity.METRIC_DEPTH, mask=mask, intrinsics=intrinsics)


@pytest.fixture(scope="module")
def scene(server) -> dict:
    """Nodes 1 to 3: the plane's depth from a file, its normals, an image of its size."""
    write_npz(server.base / "input" / "plane.npz", plane())
    image = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    cv2.imwrite(str(server.base / "input" / "texture.png"), image)
    return {
        "1": node("LoadGeometry", file="plane.npz"),
        "2": node("NormalsFromDepth", geometry=["1", 0], method="plane fit"),
        "3": core("LoadImage", image="texture.png"),
    }


def shown(server, graph: dict, *ends: str) -> list[np.ndarray]:
    """Runs the graph with previews on the ends; the images as RGB."""
    previews = {f"p{end}": core("PreviewImage", images=[end, 0]) for end in ends}
    outputs = server.finished(graph | previews)
    paths = [server.base / "temp" / outputs[f"p{end}"]["images"][0]["filename"] for end in ends]
    return [cv2.imread(str(path))[..., ::-1].astype(int) for path in paths]


def path_of(server, entry: dict):
    return server.base / "output" / entry["subfolder"] / entry["filename"]


class Glb:
    """What is in a file of glTF: its document, and the bytes of a view of its buffer."""

    def __init__(self, path):
        self.data = path.read_bytes()
        (self.length,) = struct.unpack("<I", self.data[12:16])
        self.document = json.loads(self.data[20 : 20 + self.length])

    def bytes_of(self, view, offset=0):
        view = self.document["bufferViews"][view]
        start = 28 + self.length + view.get("byteOffset", 0)
        return self.data[start + offset : start + view["byteLength"]]

    def attribute(self, name, width):
        accessor = self.document["accessors"][self.document["meshes"][0]["primitives"][0]["attributes"][name]]
        values = np.frombuffer(self.bytes_of(accessor["bufferView"], accessor.get("byteOffset", 0)), np.float32, width * accessor["count"])
        return values.reshape(-1, width)


def on_plane(server, entry) -> int:
    """How many points a GLB of the plane has, all of which have to lie on it: glTF's axes are OpenGL's."""
    points = Glb(path_of(server, entry)).attribute("POSITION", 3)
    assert abs(points @ NORMAL.numpy() + 3 * NORMAL[2].item()).max() < 1e-3
    return len(points)


def test_core_renders_our_geometry_as_we_do(server, scene):
    graph = scene | {
        "moge": node("GeometryToMoGe", geometry=["2", 0], image=["3", 0]),
        "a": core("MoGeRender", moge_geometry=["moge", 0], output="normal_opengl"),
        "b": node("RenderNormals", geometry=["2", 0], coding="opengl"),
        "c": core("MoGeRender", moge_geometry=["moge", 0], output="normal_directx"),
        "d": node("RenderNormals", geometry=["2", 0], coding="directx"),
        "e": core("MoGeRender", moge_geometry=["moge", 0], output="depth"),
        "f": node("RenderDepth", geometry=["1", 0], near="white", normalisation="per_image", percentile_low=0.1, percentile_high=99.9),
        "g": core("MoGeRender", moge_geometry=["moge", 0], output="mask"),
    }
    opengl, ours_opengl, directx, ours_directx, depth, ours_depth, mask = shown(server, graph, *"abcdefg")
    trusted = plane().mask[0, 0].numpy()
    assert abs(opengl - ours_opengl)[trusted].max() <= 1 and abs(directx - ours_directx)[trusted].max() <= 1
    assert abs(opengl[trusted] - (NORMAL * 0.5 + 0.5).numpy() * 255).max() <= 1.5, "and it is the plane's"
    assert abs(depth - ours_depth).max() <= 2, "black where masked, too"
    assert ((mask[..., 0] > 127) == trusted).all()


def test_core_renders_our_depth_as_depth_anything_3(server, scene):
    graph = scene | {
        "da3": node("GeometryToDA3", geometry=["1", 0], image=["3", 0]),
        "a": core(
            "DA3Render", da3_geometry=["da3", 0], output="depth", **{"output.normalization": "min_max", "output.apply_sky_clip": False}
        ),
        "b": node("RenderDepth", geometry=["1", 0], near="white", normalisation="per_image", metric_as_disparity=False),
        "c": core("DA3Render", da3_geometry=["da3", 0], output="sky_mask", **{"output.colored": False}),
    }
    depth, ours, sky = shown(server, graph, *"abc")
    assert abs(depth - ours).max() <= 1 and ((sky[..., 0] < 127) == plane().mask[0, 0].numpy()).all()


@pytest.mark.parametrize(
    ("there", "socket", "mesher"),
    [("GeometryToMoGe", "moge_geometry", "MoGePointMapToMesh"), ("GeometryToDA3", "da3_geometry", "DA3GeometryToMesh")],
)
def test_core_makes_meshes_of_our_geometry(server, scene, there, socket, mesher):
    widgets = {"batch_index": 0, "decimation": 1, "discontinuity_threshold": 0.5, "texture": True}
    if mesher.startswith("DA3"):
        widgets |= {"confidence_threshold": 0.1, "use_sky_mask": True}
    graph = scene | {
        "to": node(there, geometry=["1", 0], image=["3", 0]),
        "mesh": core(mesher, **{socket: ["to", 0]}, **widgets),
        "save": core("SaveGLB", mesh=["mesh", 0], filename_prefix=f"core/{there}"),
    }
    (entry,) = server.finished(graph)["save"]["3d"]
    assert on_plane(server, entry) > 0.8 * HEIGHT * WIDTH


def test_our_meshes_go_to_cores_3d_preview(server, scene):
    graph = scene | {
        "mesh": node("SaveMesh", geometry=["2", 0], image=["3", 0], filename_prefix="ours/mesh", max_points=0),
        "relief": node("SaveRelief", geometry=["1", 0], filename_prefix="ours/relief", max_points=400),
        "shown": core("Preview3D", model_file=["mesh", 0]),
        "plate": core("Preview3D", model_file=["relief", 0]),
    }
    outputs = server.finished(graph)
    (entry,) = outputs["mesh"]["3d"]
    assert on_plane(server, entry) == HEIGHT * WIDTH - 64
    assert outputs["mesh"]["text"][0].startswith("3,008 points, ") and "metric depth, " in outputs["mesh"]["text"][0]
    assert outputs["shown"]["result"][0] == "ours/mesh_00001.glb" and outputs["plate"]["result"][0] == "ours/relief_00001.stl"


def test_cores_3d_nodes_take_our_mesh_files_and_camera(server, scene):
    """The files are shown from where the image was taken."""
    graph = scene | {
        "to": node("GeometryToMesh", geometry=["2", 0], image=["3", 0]),
        "mesh": core("SaveGLB", mesh=["to", 0], filename_prefix="core/mesh"),
        "shown": core("Preview3D", model_file=["to", 1], camera_info=["to", 3]),
    }
    graph["plain"] = node("GeometryToMesh", geometry=["2", 0])
    graph["bare"] = core("SaveGLB", mesh=["plain", 0], filename_prefix="core/bare")
    described = server.request("/object_info")
    file_types = described["SaveGLB"]["input"]["required"]["mesh"][0]
    if "FILE_3D_PLY" in file_types:
        graph["cloud"] = core("SaveGLB", mesh=["to", 2], filename_prefix="core/cloud")
    if "FILE_3D_GLB" in file_types:
        graph["file"] = core("SaveGLB", mesh=["to", 1], filename_prefix="core/file")
    outputs = server.finished(graph)
    for name in ("mesh", "bare", *({"file"} & graph.keys())):
        (entry,) = outputs[name]["3d"]
        assert on_plane(server, entry) == HEIGHT * WIDTH - 64
    if "cloud" in graph:
        (entry,) = outputs["cloud"]["3d"]
        head = path_of(server, entry).read_bytes()[:400]
        assert head.startswith(b"ply\n") and b"element vertex 3008\n" in head and b"element face" not in head and b"red" in head
    name, camera = outputs["shown"]["result"][:2]
    assert name.endswith(".glb") and camera["cameraType"] == "perspective"
    assert camera["fov"] == pytest.approx(2 * np.degrees(np.arctan(np.tan(np.radians(30)) * HEIGHT / WIDTH)), abs=1e-3)


def test_core_renders_our_splats_as_the_image(server, scene):
    """From the image's camera they show the image, and core's own file of them has our points."""
    if "RenderSplat" not in server.request("/object_info"):
        pytest.skip("this ComfyUI has no splats")
    graph = scene | {
        "to": node("GeometryToSplats", geometry=["1", 0], image=["3", 0]),
        "render": core("RenderSplat", splat=["to", 0], camera_info=["to", 1], width=4 * WIDTH, height=4 * HEIGHT, frames=1, sharpen=1.0),
        "save": core("SaveImage", images=["render", 0], filename_prefix="splats/render"),
        "file": core("SplatToFile3D", splat=["to", 0], format="ply"),
        "kept": core("SaveGLB", mesh=["file", 0], filename_prefix="splats/core"),
        "ours": node("SaveMesh", geometry=["1", 0], image=["3", 0], format="splats", filename_prefix="splats/ours"),
    }
    widgets = {"splat_scale": 1.0, "headlight_shading": 0.0, "opacity_threshold": 0.0, "render_style": "color", "background": "#000000"}
    graph["render"]["inputs"] |= widgets
    outputs = server.finished(graph)
    (entry,) = outputs["save"]["images"]
    rendered = cv2.imread(str(path_of(server, entry))).astype(float)
    texture = cv2.imread(str(server.base / "input" / "texture.png")).astype(float)
    expected = cv2.resize(texture, (4 * WIDTH, 4 * HEIGHT), interpolation=cv2.INTER_LINEAR)
    valid = cv2.resize(plane().mask[0, 0].numpy().astype(np.uint8), (4 * WIDTH, 4 * HEIGHT)) > 0
    inner = cv2.erode(valid.astype(np.uint8), np.ones((25, 25))) > 0
    # Core mixes in linear light, which makes noise brighter: what is compared is the pattern.
    blurred = [cv2.GaussianBlur(each, (0, 0), 4) for each in (rendered, expected, expected[:, ::-1], expected[::-1])]
    same, *mirrored = (np.corrcoef(blurred[0][inner].ravel(), each[inner].ravel())[0, 1] for each in blurred[1:])
    assert same > 0.9 and max(mirrored) < 0.5
    (core_file,), (own_file,) = outputs["kept"]["3d"], outputs["ours"]["files"]
    rows = [np.frombuffer(path_of(server, each).read_bytes().split(b"end_header\n", 1)[1], "<f4") for each in (core_file, own_file)]
    assert rows[0].shape == rows[1].shape and abs(rows[0] - rows[1]).max() < 1e-4


def test_cores_glb_of_our_mesh_wears_the_image(server, scene):
    """Where ComfyUI's MESH has a texture; the corner of the image is the corner of the mesh."""
    graph = {
        "1": scene["1"],
        "3": scene["3"],
        "to": node("GeometryToMesh", geometry=["1", 0], image=["3", 0]),
        "mesh": core("SaveGLB", mesh=["to", 0], filename_prefix="core/worn"),
    }
    (entry,) = server.finished(graph)["mesh"]["3d"]
    glb = Glb(path_of(server, entry))
    if "images" not in glb.document:
        pytest.skip("the MESH of this ComfyUI has no texture")
    texture = cv2.imdecode(np.frombuffer(glb.bytes_of(glb.document["images"][0]["bufferView"]), np.uint8), cv2.IMREAD_COLOR)
    assert (texture == cv2.imread(str(server.base / "input" / "texture.png"))).all()
    uvs, points = glb.attribute("TEXCOORD_0", 2), glb.attribute("POSITION", 3)
    focal = WIDTH / 2 / np.tan(np.radians(30))
    assert np.abs(uvs[:, 0] * WIDTH - (WIDTH / 2 - focal * points[:, 0] / points[:, 2])).max() < 0.01
    assert np.abs(uvs[:, 1] * HEIGHT - (HEIGHT / 2 + focal * points[:, 1] / points[:, 2])).max() < 0.01


@pytest.mark.parametrize("output", [1, 2], ids=["moge", "da3"])
def test_cores_geometry_comes_back(server, scene, output):
    graph = scene | {
        "to": node("ConvertGeometry", source=["1", 0], image=["3", 0]),
        "from": node("ConvertGeometry", source=["to", output]),
        "save": node("SaveGeometry", geometry=["from", 0], filename_prefix=f"back/{output}", format="npz"),
    }
    (entry,) = server.finished(graph)["save"]["files"]
    estimate, given = read_npz(path_of(server, entry)), plane()
    assert torch.equal(estimate.mask, given.mask) and torch.equal(estimate.depth[given.mask], given.depth[given.mask])
    assert torch.allclose(estimate.intrinsics, given.intrinsics, atol=1e-4) and estimate.quantity is Quantity.METRIC_DEPTH
